/**
 * Which way imports may point; docs/ARCHITECTURE.md draws it. `npm run arrows`.
 *
 * process <- config, native <- api;  process, config, api/wire <- driver.
 */
const verbs =
  '^api/(instances|images|storage|network|profiles|projects|certificates|idmap|metrics|operations|events|db)/';

/** An arrow that must not be: files from -> files to. */
const never = (name, from, to, comment) => ({
  name,
  severity: 'error',
  from: typeof from === 'string' ? { path: from } : from,
  to: typeof to === 'string' ? { path: to } : to,
  ...(comment === undefined ? {} : { comment }),
});

module.exports = {
  forbidden: [
    never('no-cycles', {}, { circular: true, viaOnly: { dependencyTypesNot: ['type-only'] } }),
    never(
      'process-stands-alone',
      { path: '^process/', pathNot: '^process/slipway\\.ts$' },
      '^(config|native|api|driver|tempest|test)/',
      'process/slipway.ts is the command: it starts the two services, each by a dynamic import',
    ),
    never(
      'only-the-command-starts-services',
      { pathNot: '^(process/slipway\\.ts$|test/)' },
      '^(api|driver)/main\\.ts$',
    ),
    never('config-knows-no-service', '^config/', '^(native|api|driver|tempest|test)/'),
    never('native-knows-no-service', '^native/', '^(config|api|driver|tempest|test)/'),
    never(
      'native-has-one-door',
      { pathNot: '^(native|test)/' },
      { path: '^native/', pathNot: '^native/(index|types|steps)\\.ts$' },
    ),
    never('api-knows-no-driver', '^api/', '^(driver|tempest|test)/'),
    never('driver-sees-only-the-wire', '^driver/', { path: '^(api|native)/', pathNot: '^api/wire/' }),
    never('rpc-knows-no-instances', '^driver/rpc/', '^driver/(nova|compute|lxd|cloud)/'),
    never('the-wire-has-no-behaviour', '^api/wire/', {
      path: '^api/',
      pathNot: '^api/(wire/|events/events\\.ts|db/rows\\.ts)',
    }),
    never('routes-only-translate', '^api/routes/', {
      path: '^(native/|api/db/)',
      pathNot: '^api/db/rows\\.ts$',
      dependencyTypesNot: ['type-only'],
    }),
    never('verbs-know-no-http', verbs, '^api/(http|routes)/'),
    never('tests-are-not-imported', { pathNot: '^(test|tempest)/' }, '^(test|tempest)/'),
    never(
      'set-up-is-a-client',
      '^api/setup/',
      {
        path: '^api/',
        pathNot: '^api/(setup/|(tools|lxcfs|architectures|idmap/idmap|network/bridge-rules)\\.ts$)',
      },
      'slipway up and down use the REST API; of the daemon they know small helpers alone',
    ),
    never('nothing-unresolved', {}, { couldNotResolve: true }),
    never(
      'run-time-needs-run-time-packages',
      { path: '^(process|config|native|api|driver)/', pathNot: '^config/(lint/|bundle\\.ts$)' },
      { dependencyTypes: ['npm-dev'], dependencyTypesNot: ['type-only'] },
    ),
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
