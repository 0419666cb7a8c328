/** The files that are made from the option tables: path below the project -> text. */
import { COMPUTE_OPTIONS } from './options/compute.ts';
import { DAEMON_OPTIONS, DEFAULT_CONFIG_FILE } from './options/daemon.ts';
import { renderManual, renderSample } from './render-options.ts';

const SAMPLE_HEAD =
  `Sample of ${DEFAULT_CONFIG_FILE}, made from the option tables by "npm run docs". ` +
  'Every option stands here with its default. The syntax is that of nova.conf: a value may refer to ' +
  'another option by $name. What is not here is configured through the API and kept in the database.';

const MANUAL_HEAD = `# slipway.conf(5)

## Name

slipway.conf: what \`slipway serve\` must know before its database is open

## Description

\`${DEFAULT_CONFIG_FILE}\` is read when it exists; \`--config-file\` names another one. The syntax is that of
nova.conf: groups in brackets, \`name = value\`, comments behind \`#\` or \`;\` at the beginning of a line. A line
that begins with white space continues the value above it. A value may be wrapped in quotes. \`$name\`,
\`\${name}\` and \`\${group.name}\` stand for other options; \`$$\` is a dollar sign.

An option or group that is not known is logged as a warning and ignored. A wrong value ends the program with
exit code 1 and one line that names the option.

Everything else about the server is configured through the API (\`lxc config set core.https_address …\`) and
kept in the database.

## Options

`;

const MANUAL_TAIL = `
## Environment

**SLIPWAY_DIR**

The state folder; goes before \`[paths] state\`.

## See also

slipway(8), slipway-serve(8)
`;

const NOVA_SAMPLE_HEAD =
  'Sample of a nova.conf for "slipway compute", made from the option tables by "npm run docs". Every option ' +
  'that the service reads stands here with its default: they are those of Nova, by its names, so that the ' +
  'file that nova-compute used serves as it is. Only [slipway] is of its own. Options that are not here are ' +
  'ignored.';

const NOVA_MANUAL_HEAD = `# slipway-nova.conf(5)

## Name

slipway-nova.conf: what \`slipway compute\` reads of nova.conf

## Description

\`slipway compute\` is configured by Nova's own file: the same sections, names and defaults. The file that
nova-compute used on this host can be given to it as it is. What is needed at least: \`transport_url\`, and in
[placement] and [neutron] the account of the service (\`auth_url\`, \`username\`, \`password\`, \`project_name\` and
the domains). [service_user] is wanted too: without it, long work fails when a user's token ends.

Several files are read in the order they are given; what stands in a later one holds. Options and sections that are
not listed here mean nothing to this service; they are named once in its log.

## Options

`;

const NOVA_MANUAL_TAIL = `
## See also

slipway-compute(8), slipway.conf(5)
`;

export function generatedDocs(): ReadonlyMap<string, string> {
  return new Map([
    ['config/etc/slipway.conf', renderSample(SAMPLE_HEAD, DAEMON_OPTIONS)],
    ['config/etc/nova.conf', renderSample(NOVA_SAMPLE_HEAD, COMPUTE_OPTIONS)],
    ['docs/man/slipway-nova.conf.5.md', NOVA_MANUAL_HEAD + renderManual(COMPUTE_OPTIONS) + NOVA_MANUAL_TAIL],
    ['docs/man/slipway.conf.5.md', MANUAL_HEAD + renderManual(DAEMON_OPTIONS) + MANUAL_TAIL],
  ]);
}
