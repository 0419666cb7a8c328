/**
 * Which way imports may point; docs/ARCHITECTURE.md draws it. `npm run arrows`.
 *
 * process <- config, native <- api;  process, config, api/wire <- driver.
 */
const verbs =
  '^api/(instances|images|storage|network|profiles|projects|certificates|idmap|metrics|operations|events|db)/';

module.exports = {
  forbidden: [
    {
      name: 'no-cycles',
      severity: 'error',
      from: {},
      to: { circular: true, viaOnly: { dependencyTypesNot: ['type-only'] } },
    },
    {
      name: 'process-stands-alone',
      comment: 'process/slipway.ts is the command: it starts the two services, each by a dynamic import',
      severity: 'error',
      from: { path: '^process/', pathNot: '^process/slipway\\.ts$' },
      to: { path: '^(config|native|api|driver|tempest|test)/' },
    },
    {
      name: 'only-the-command-starts-services',
      severity: 'error',
      from: { pathNot: '^(process/slipway\\.ts$|test/)' },
      to: { path: '^(api|driver)/main\\.ts$' },
    },
    {
      name: 'config-knows-no-service',
      severity: 'error',
      from: { path: '^config/' },
      to: { path: '^(native|api|driver|tempest|test)/' },
    },
    {
      name: 'native-knows-no-service',
      severity: 'error',
      from: { path: '^native/' },
      to: { path: '^(config|api|driver|tempest|test)/' },
    },
    {
      name: 'native-has-one-door',
      severity: 'error',
      from: { pathNot: '^(native|test)/' },
      to: { path: '^native/', pathNot: '^native/(index|types|steps)\\.ts$' },
    },
    {
      name: 'api-knows-no-driver',
      severity: 'error',
      from: { path: '^api/' },
      to: { path: '^(driver|tempest|test)/' },
    },
    {
      name: 'driver-sees-only-the-wire',
      severity: 'error',
      from: { path: '^driver/' },
      to: { path: '^(api|native)/', pathNot: '^api/wire/' },
    },
    {
      name: 'rpc-knows-no-instances',
      severity: 'error',
      from: { path: '^driver/rpc/' },
      to: { path: '^driver/(nova|compute|lxd|cloud)/' },
    },
    {
      name: 'the-wire-has-no-behaviour',
      severity: 'error',
      from: { path: '^api/wire/' },
      to: { path: '^api/', pathNot: '^api/(wire/|events/events\\.ts|db/rows\\.ts)' },
    },
    {
      name: 'routes-only-translate',
      severity: 'error',
      from: { path: '^api/routes/' },
      to: { path: '^(native/|api/db/)', pathNot: '^api/db/rows\\.ts$', dependencyTypesNot: ['type-only'] },
    },
    {
      name: 'verbs-know-no-http',
      severity: 'error',
      from: { path: verbs },
      to: { path: '^api/(http|routes)/' },
    },
    {
      name: 'tests-are-not-imported',
      severity: 'error',
      from: { pathNot: '^(test|tempest)/' },
      to: { path: '^(test|tempest)/' },
    },
    {
      name: 'set-up-is-a-client',
      comment: 'slipway up and down use the REST API; of the daemon they know pure text alone',
      severity: 'error',
      from: { path: '^api/setup/' },
      to: {
        path: '^api/',
        pathNot: '^api/(setup/|tools\\.ts$|idmap/idmap\\.ts$|network/bridge-rules\\.ts$)',
      },
    },
    { name: 'nothing-unresolved', severity: 'error', from: {}, to: { couldNotResolve: true } },
    {
      name: 'run-time-needs-run-time-packages',
      severity: 'error',
      from: { path: '^(process|config|native|api|driver)/', pathNot: '^config/lint/' },
      to: { dependencyTypes: ['npm-dev'], dependencyTypesNot: ['type-only'] },
    },
  ],
  options: {
    tsConfig: { fileName: 'tsconfig.json' },
    tsPreCompilationDeps: true,
    doNotFollow: { path: 'node_modules' },
    exclude: { path: '^(dist|native/build)/' },
    enhancedResolveOptions: {
      extensions: ['.ts', '.js', '.json'],
      exportsFields: ['exports'],
      conditionNames: ['import', 'require', 'node', 'default', 'types'],
    },
  },
};
