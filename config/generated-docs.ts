/** The files that are made from the option tables: path below the project -> text. */
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

export function generatedDocs(): ReadonlyMap<string, string> {
  return new Map([
    ['config/etc/slipway.conf', renderSample(SAMPLE_HEAD, DAEMON_OPTIONS)],
    ['docs/man/slipway.conf.5.md', MANUAL_HEAD + renderManual(DAEMON_OPTIONS) + MANUAL_TAIL],
  ]);
}
