/** P003: deciding is kept apart from doing, and stays testable without a disk or a clock. */

const OUTSIDE = /^(node:)?(fs|fs\/promises|net|http|https|dgram|dns|child_process|timers\/promises)$/;
/** These only look at text. */
const HARMLESS = new Set(['isIP', 'isIPv4', 'isIPv6']);
const CALLS = new Set(['Date.now', 'Math.random', 'performance.now', 'crypto.randomUUID']);

/** A file is pure when its name says so or when its head does: "Pure." */
function isPure(context) {
  if (/(?:lxc-config|-spec|-args|-rules|\/power)\.ts$/.test(context.filename)) return true;
  const [head] = context.sourceCode.getAllComments();
  return head !== undefined && head.range[0] < 200 && /(^|\s)Pure\.(\s|$)/.test(head.value);
}

export const P003 = {
  meta: {
    type: 'problem',
    docs: { description: 'pure files have no clock, chance, disk or network' },
    schema: [],
    messages: { wrong: 'P003: this file is pure; {{what}} is passed in or done elsewhere' },
  },
  create(context) {
    if (!isPure(context)) return {};
    const report = (node, what) => {
      context.report({ node, messageId: 'wrong', data: { what } });
    };
    return {
      ImportDeclaration(node) {
        if (node.importKind === 'type' || !OUTSIDE.test(node.source.value)) return;
        const used = node.specifiers.filter(
          (one) => one.importKind !== 'type' && !HARMLESS.has(one.imported?.name),
        );
        if (used.length > 0) report(node, node.source.value);
      },
      CallExpression(node) {
        const text = context.sourceCode.getText(node.callee);
        if (CALLS.has(text)) report(node, text);
      },
      NewExpression(node) {
        if (node.callee.name === 'Date' && node.arguments.length === 0) report(node, 'new Date()');
      },
    };
  },
};
