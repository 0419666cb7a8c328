/** P006: an assertion carries its reason, on its line, above its statement, or above its function's first one. */

export const P006 = {
  meta: {
    type: 'suggestion',
    docs: { description: '`as` has a comment' },
    schema: [],
    messages: { wrong: 'P006: `as` needs a comment that says why it is right here' },
  },
  create(context) {
    const { sourceCode } = context;
    const lines = new Set(
      sourceCode.getAllComments().flatMap((comment) => {
        const found = [];
        for (let line = comment.loc.start.line; line <= comment.loc.end.line; line++) found.push(line);
        return found;
      }),
    );
    const statementLine = (node) => {
      let at = node;
      while (at.parent !== null && !/Statement$|Declaration$|PropertyDefinition$/.test(at.type))
        at = at.parent;
      return at.loc.start.line;
    };
    return {
      TSAsExpression(node) {
        if (node.typeAnnotation.type === 'TSTypeReference' && node.typeAnnotation.typeName.name === 'const')
          return;
        const last = node.loc.end.line;
        const first = statementLine(node);
        for (let line = first - 1; line <= last; line++) if (lines.has(line)) return;
        context.report({ node, messageId: 'wrong' });
      },
    };
  },
};
