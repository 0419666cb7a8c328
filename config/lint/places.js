/** Rules about things that belong to one place. */

const CHILD_PROCESS = /^(node:)?child_process$/;

/** Path of the file below the project, with slashes. */
export function projectPath(context) {
  return context.filename.slice(context.cwd.length + 1).replaceAll('\\', '/');
}

function isTest(path) {
  return path.startsWith('test/') || path.startsWith('tempest/');
}

function importRule(text, isWrong) {
  return {
    meta: { type: 'problem', docs: { description: text }, schema: [], messages: { wrong: text } },
    create(context) {
      const path = projectPath(context);
      const check = (node, source) => {
        if (typeof source === 'string' && isWrong(path, source)) context.report({ node, messageId: 'wrong' });
      };
      return {
        ImportDeclaration(node) {
          check(node, node.source.value);
        },
        ImportExpression(node) {
          check(node, node.source.value);
        },
        ExportNamedDeclaration(node) {
          check(node, node.source?.value);
        },
      };
    },
  };
}

export const P001 = importRule(
  'P001: programs are started through native/index.ts or api/tools.ts',
  (path, source) =>
    CHILD_PROCESS.test(source) && path !== 'api/tools.ts' && !path.startsWith('native/') && !isTest(path),
);

export const P005 = importRule(
  'P005: the log is written through process/log.ts',
  (path, source) => source === 'winston' && path !== 'process/log.ts',
);

export const P002 = {
  meta: {
    type: 'problem',
    docs: { description: 'process.env is read in config/ only' },
    schema: [],
    messages: { wrong: 'P002: process.env is read in config/ only; take it from config/environment.ts' },
  },
  create(context) {
    const path = projectPath(context);
    if (path.startsWith('config/') || isTest(path)) return {};
    return {
      MemberExpression(node) {
        if (node.object.type !== 'Identifier' || node.object.name !== 'process') return;
        const name = node.computed ? node.property.value : node.property.name;
        if (name === 'env') context.report({ node, messageId: 'wrong' });
      },
      ImportDeclaration(node) {
        if (!/^(node:)?process$/.test(node.source.value)) return;
        if (node.specifiers.some((one) => one.imported?.name === 'env')) {
          context.report({ node, messageId: 'wrong' });
        }
      },
    };
  },
};
