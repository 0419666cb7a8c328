/**
 * The templates of an image or instance (metadata.yaml) as files of the guest.
 *
 * Pure but for `readTemplate`. Triggers: `create` and `copy` (first start),
 * `start` (every start), `rename`. Nothing here touches the guest's files: the
 * caller writes the result inside its root.
 */
import { Fault, isFault } from '../../process/fault.ts';
import type { ImageMetadata, TemplateRule } from '../images/types.ts';
import { hostnameOf } from './names.ts';
import { parseTemplate } from './template-parse.ts';
import { renderNodes } from './template-render.ts';
import type { Value, ValueMap } from './template-values.ts';
import type { Expanded } from './types.ts';
import { parseBool } from './values.ts';

export interface RenderedFile {
  /** Absolute path in the guest, without `..`. */
  readonly path: string;
  readonly content: string;
  readonly createOnly: boolean;
}

export interface TemplateContext {
  readonly expanded: Expanded;
  /** Text of a file of `templates/`. */
  readonly readTemplate: (name: string) => Promise<string>;
}

/** The files of one trigger. Fault bad_request that names the template and what is wrong with it. */
export async function renderTemplates(
  metadata: ImageMetadata,
  trigger: string,
  context: TemplateContext,
): Promise<RenderedFile[]> {
  const files: RenderedFile[] = [];
  for (const [path, rule] of Object.entries(metadata.templates)) {
    if (!rule.when.includes(trigger)) continue;
    checkTemplatePath(path);
    const source = await context.readTemplate(rule.template);
    const content = renderOne(source, rule, variables(path, rule, trigger, context.expanded));
    files.push({ path, content, createOnly: rule.createOnly });
  }
  return files;
}

/** Throws bad_request for a target that is no absolute path, or holds `..`. */
export function checkTemplatePath(path: string): void {
  const parts = path.split('/');
  if (
    path.startsWith('/') &&
    path.length < 4096 &&
    parts.at(-1) !== '' &&
    !parts.includes('..') &&
    !path.includes('\0')
  )
    return;
  throw new Fault(
    'bad_request',
    `template path ${JSON.stringify(path.slice(0, 200))} is not an absolute path of a file`,
  );
}

function renderOne(source: string, rule: TemplateRule, values: ValueMap): string {
  try {
    return renderNodes(parseTemplate(source), values);
  } catch (err) {
    if (!isFault(err, 'bad_request')) throw err;
    throw new Fault('bad_request', `template "${rule.template}": ${err.message}`);
  }
}

function variables(path: string, rule: TemplateRule, trigger: string, expanded: Expanded): ValueMap {
  const { row, config, devices } = expanded;
  // All text, as in LXD: templates compare with "true".
  const instance: ValueMap = {
    name: hostnameOf(expanded),
    type: 'container',
    architecture: row.architecture,
    ephemeral: String(row.ephemeral),
    privileged: String(parseBool(config['security.privileged'])),
  };
  const configGet = (key: Value = null, fallback: Value = null): Value => {
    const value = typeof key === 'string' && Object.hasOwn(config, key) ? config[key] : undefined;
    return value === undefined || value === '' ? fallback : value;
  };
  return {
    trigger,
    path,
    container: instance,
    instance,
    config,
    config_get: configGet,
    devices,
    properties: rule.properties,
  };
}
