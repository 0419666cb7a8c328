/** P004: one message, one meaning: what varies goes into facts. */

const LEVELS = new Set(['debug', 'info', 'warn', 'error']);

/** `log.info(…)`, `this.log.warn(…)`, `parts.log.error(…)`. */
function isLogCall(node) {
  const { callee } = node;
  if (callee.type !== 'MemberExpression' || callee.computed || !LEVELS.has(callee.property.name))
    return false;
  const from = callee.object;
  const name = from.type === 'MemberExpression' ? from.property.name : from.name;
  return typeof name === 'string' && /log$/i.test(name);
}

export const P004 = {
  meta: {
    type: 'problem',
    docs: { description: 'log messages are constant' },
    schema: [],
    messages: { wrong: 'P004: a log message is a constant string; put what varies into the facts' },
  },
  create(context) {
    return {
      CallExpression(node) {
        const [message] = node.arguments;
        if (message === undefined || !isLogCall(node)) return;
        const varies =
          (message.type === 'TemplateLiteral' && message.expressions.length > 0) ||
          (message.type === 'BinaryExpression' && message.operator === '+');
        if (varies) context.report({ node: message, messageId: 'wrong' });
      },
    };
  },
};
