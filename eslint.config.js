import tseslint from 'typescript-eslint';
import { slipway } from './config/lint/rules.js';

/** What the compiler cannot see, and the rules of this project (config/lint/rules.js has their reasons). */
const errors = {
  '@typescript-eslint/no-floating-promises': ['error', { ignoreVoid: true }],
  '@typescript-eslint/no-misused-promises': 'error',
  '@typescript-eslint/await-thenable': 'error',
  '@typescript-eslint/switch-exhaustiveness-check': [
    'error',
    { considerDefaultExhaustiveForUnions: true, requireDefaultForNonUnion: false },
  ],
  '@typescript-eslint/no-unnecessary-condition': ['error', { allowConstantLoopConditions: true }],
  '@typescript-eslint/only-throw-error': 'error',
  '@typescript-eslint/consistent-type-imports': ['error', { fixStyle: 'inline-type-imports' }],
  '@typescript-eslint/no-explicit-any': 'error',
  '@typescript-eslint/no-non-null-assertion': 'error',
  '@typescript-eslint/return-await': ['error', 'error-handling-correctness-only'],
  'no-async-promise-executor': 'error',
  'no-control-regex': 'error',
  'no-self-assign': 'error',
  'no-unsafe-finally': 'error',
  'no-useless-escape': 'error',
  'no-prototype-builtins': 'error',
  eqeqeq: 'error',
  'no-var': 'error',
  'prefer-const': 'error',
  'no-restricted-syntax': [
    'error',
    { selector: 'ExportDefaultDeclaration', message: 'exports have names' },
    { selector: 'ExportAllDeclaration', message: 'a name is imported from the file it lives in' },
  ],
  'slipway/P001': 'error',
  'slipway/P002': 'error',
  'slipway/P003': 'error',
  'slipway/P004': 'error',
  'slipway/P005': 'error',
  'slipway/P006': 'error',
};

const limits = {
  'max-lines': ['warn', { max: 400, skipBlankLines: false, skipComments: false }],
  'max-lines-per-function': ['warn', { max: 60, skipBlankLines: true, skipComments: true }],
  'max-depth': ['warn', 3],
  'max-params': ['warn', 6],
};

export default [
  { ignores: ['dist/', 'node_modules/', 'native/build/', '.cache/', 'coverage/'] },
  {
    files: ['**/*.ts'],
    languageOptions: {
      parser: tseslint.parser,
      parserOptions: { projectService: true, tsconfigRootDir: import.meta.dirname },
    },
    linterOptions: { reportUnusedDisableDirectives: 'error' },
    plugins: { '@typescript-eslint': tseslint.plugin, slipway },
    rules: { ...errors, ...limits },
  },
  {
    // A test is a list of cases: its length says nothing. node:test gives promises it looks after itself.
    files: ['test/**/*.ts'],
    rules: {
      '@typescript-eslint/no-floating-promises': [
        'error',
        {
          ignoreVoid: true,
          allowForKnownSafeCalls: [
            {
              from: 'package',
              package: 'node:test',
              name: ['test', 'it', 'describe', 'suite', 'before', 'after'],
            },
          ],
        },
      ],
      'max-lines-per-function': 'off',
      'slipway/P006': 'off',
    },
  },
];
