import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { ImageMetadata } from '../../../../api/images/types.ts';
import { renderTemplates } from '../../../../api/instances/templates.ts';
import type { TemplateContext } from '../../../../api/instances/templates.ts';
import { Fault, isFault } from '../../../../process/fault.ts';
import { instanceRow } from '../../../support/rows.ts';

const CONFIG = { 'user.net': 'dhcp', 'user.role': 'Web', 'security.privileged': 'True', 'user.empty': '' };

function context(source: string): TemplateContext {
  return {
    expanded: {
      row: instanceRow({ name: 'web1', profiles: [], config: CONFIG }),
      config: CONFIG,
      devices: {
        eth0: { type: 'nic', name: 'eth0' },
        eth1: { type: 'nic', name: 'eth1' },
      },
    },
    readTemplate: (name) =>
      name === 'a.tpl' ? Promise.resolve(source) : Promise.reject(new Fault('not_found', `no ${name}`)),
  };
}

function metadata(when: readonly string[], path = '/etc/a', createOnly = false): ImageMetadata {
  return {
    architecture: 'x86_64',
    creationDate: 0,
    expiryDate: 0,
    properties: {},
    templates: { [path]: { when, createOnly, template: 'a.tpl', properties: { color: 'blue' } } },
  };
}

async function render(source: string): Promise<string> {
  const [file] = await renderTemplates(metadata(['start']), 'start', context(source));
  return file?.content ?? '';
}

test('only the templates of the trigger are rendered', async () => {
  assert.deepEqual(
    await renderTemplates(metadata(['create', 'copy'], '/etc/a', true), 'copy', context('x')),
    [{ path: '/etc/a', content: 'x', createOnly: true }],
  );
  assert.deepEqual(await renderTemplates(metadata(['create']), 'start', context('x')), []);
});

const RENDERED: readonly (readonly [string, string])[] = [
  ['{{ container.name }} {{ instance.name }}\n', 'web1 web1\n'],
  ['{{ container.privileged }} {{ container.ephemeral }} {{ container.type }}', 'true false container'],
  ['{{ trigger }} {{ path }} {{ properties.color }}', 'start /etc/a blue'],
  [
    '{{ config_get("user.net", "none") }} {{ config_get("user.nope", "none") }} {{ config_get("user.empty", "e") }}',
    'dhcp none e',
  ],
  ['{{ config_get("user.role", "")|lower }} {{ config["user.role"]|upper }}', 'web WEB'],
  ['{% if config_get("user.nope", "") == "" %}no{% else %}yes{% endif %}', 'no'],
  ['{% if a %}1{% elif config %}2{% else %}3{% endif %}', '2'],
  ['{% for name, dev in devices %}{{ name }}={{ dev.type }};{% endfor %}', 'eth0=nic;eth1=nic;'],
  [
    '{% for name in devices %}{{ forloop.Counter }}{{ name }}{% if not forloop.Last %},{% endif %}{% endfor %}',
    '1eth0,2eth1',
  ],
  ['{% for x in nothing %}x{% empty %}none{% endfor %}', 'none'],
  ['{% for c in "ab" reversed %}{{ c }}{% endfor %}', 'ba'],
  ['{% set x = 1 + 2 * 3 %}{{ x }} {{ (1 + 2) * 3 }} {{ 7 % 4 }} {{ -x }}', '7 9 3 -7'],
  ['{{ missing }}|{{ missing.deeper.still }}|{{ missing|default:"d" }}', '||d'],
  ['{# a {{ b }} #}{% comment %} {{ x }} {% endcomment %}kept', 'kept'],
  ['a {{- "b" -}} c', 'abc'],
  ['<{{ "<&>" }}>{% autoescape on %}{{ "<" }}{% endautoescape %}', '<<&>><'],
  ['{{ "}}" }}{{ \'%}\' }} { {x} {', '}}%} { {x} {'],
  ['{{ "x" in "xyz" }} {{ "eth0" in devices }} {{ "q" not in "xyz" }}', 'True True True'],
  ['{{ not missing and (1 < 2 or 2 < 1) }} {{ 1 != 2 && !missing }}', 'True True'],
  ['{{ "a,b"|split:","|join:"-" }} {{ "abc"|length }} {{ " x "|trim }}|{{ "ab"|ljust:4 }}|', 'a-b 3 x|ab  |'],
  ['{{ constructor }}{{ container.constructor }}{{ container.__proto__ }}', ''],
];

test('variables, conditions, loops and filters are those of Django', async () => {
  for (const [source, result] of RENDERED) assert.equal(await render(source), result, source);
});

const REFUSED: readonly (readonly [string, RegExp])[] = [
  ['{{ x|nope }}', /filter "nope" is not known/],
  ['a\nb\n{% bogus %}', /line 3: the tag "bogus" is not known/],
  ['{% include "/etc/passwd" %}', /the tag "include" is not known/],
  ['{% if x %}', /"if" has no "endif"/],
  ['{% endif %}', /has no beginning/],
  ['{% for x in y %}{% endif %}', /does not end/],
  ['{{ x', /has no "}}"/],
  ['{{ }}', /a value is missing/],
  ['{{ "a" "b" }}', /out of place/],
  ['{{ container() }}', /only config_get can be called/],
  ['{{ 1 / 0 }}', /division by zero/],
  [`${'{% if 1 %}'.repeat(50)}${'{% endif %}'.repeat(50)}`, /nested deeper/],
  [`{{ ${'('.repeat(100)}1${')'.repeat(100)} }}`, /nested too deep/],
  [`{{ ${'not '.repeat(100)}1 }}`, /nested too deep/],
  [`{{ "${'x'.repeat(5000)}" }}`, /longer than 4096/],
  ['x'.repeat(300 * 1024), /larger than 256 KiB/],
];

test('what is no template is refused with the name of the file and the line', async () => {
  for (const [source, text] of REFUSED) {
    await assert.rejects(
      render(source),
      (err) =>
        isFault(err, 'bad_request') && err.message.startsWith('template "a.tpl": ') && text.test(err.message),
      source.slice(0, 40),
    );
  }
});

test('a template that grows or runs without end is stopped', async () => {
  const letters = 'x'.repeat(1000);
  const loop = (inner: string) =>
    `{% set s = "${letters}" %}{% for a in s %}{% for b in s %}${inner}{% endfor %}{% endfor %}`;
  await assert.rejects(render(loop('')), /too much work/);
  await assert.rejects(render(loop('{{ s }}')), /larger than 1 MiB|too much work/);
  const doubling = `{% set s = "${letters}" %}${'{% set s = s + s %}'.repeat(40)}`;
  await assert.rejects(render(doubling), /larger than 1 MiB|too much work/);
});

test('a target outside the guest is refused', async () => {
  for (const path of ['etc/a', '/etc/../../a', '/etc/', '/a\0b', '']) {
    await assert.rejects(
      renderTemplates(metadata(['start'], path), 'start', context('x')),
      /not an absolute path/,
    );
  }
});
