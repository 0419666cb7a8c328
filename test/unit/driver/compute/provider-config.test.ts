/** provider.yaml, as Nova's administrators write it. */
import assert from 'node:assert/strict';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, test } from 'node:test';
import { readProviderExtras } from '../../../../driver/compute/provider-config.ts';
import { isFault } from '../../../../process/fault.ts';

const NODE = { uuid: '3e99e339-d388-4502-a2c2-d297bc98e370', name: 'node-a' };
const GENERAL = `
meta:
  schema_version: '1.0'
providers:
  - identification:
      uuid: $COMPUTE_NODE
    inventories:
      additional:
        - CUSTOM_GPU:
            total: 4
            reserved: 1
    traits:
      additional:
        - CUSTOM_GOLD
`;

let folder = '';

beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'slipway-provider-'));
});

afterEach(() => rm(folder, { recursive: true }));

async function write(name: string, text: string): Promise<void> {
  await writeFile(join(folder, name), text);
}

test('inventories and traits for every node are taken, with what is not written filled in', async () => {
  await write('all.yaml', GENERAL);
  await write('readme.txt', 'not yaml: [');
  assert.deepEqual(readProviderExtras(folder, NODE), {
    inventories: {
      CUSTOM_GPU: { total: 4, reserved: 1, min_unit: 1, max_unit: 4, step_size: 1, allocation_ratio: 1 },
    },
    traits: ['CUSTOM_GOLD'],
  });
});

test('what names the node goes before what is for all, and other nodes are passed over', async () => {
  await write('all.yaml', GENERAL);
  await write('one.yaml', GENERAL.replace('uuid: $COMPUTE_NODE', 'name: node-a').replace('GOLD', 'SILVER'));
  await write('other.yaml', GENERAL.replace('uuid: $COMPUTE_NODE', 'name: node-b'));
  assert.deepEqual(readProviderExtras(folder, NODE).traits, ['CUSTOM_SILVER']);
});

test('no folder and no file are nothing', () => {
  const nothing = { inventories: {}, traits: [] };
  assert.deepEqual(readProviderExtras(join(folder, 'none'), NODE), nothing);
  assert.deepEqual(readProviderExtras('', NODE), nothing);
  assert.deepEqual(readProviderExtras(folder, NODE), nothing);
});

test('wrong files are refused by their name', async () => {
  const wrong = {
    'classes of Placement itself': GENERAL.replace('CUSTOM_GPU', 'VCPU'),
    'traits of Placement itself': GENERAL.replace('CUSTOM_GOLD', 'HW_CPU_X86_AVX2'),
    'another version': GENERAL.replace("'1.0'", "'2.0'"),
    'two names': GENERAL.replace('uuid: $COMPUTE_NODE', 'uuid: $COMPUTE_NODE\n      name: node-a'),
    'no yaml': 'meta: [',
    'a total that is none': GENERAL.replace('total: 4', 'total: many'),
  };
  for (const [what, text] of Object.entries(wrong)) {
    await write('wrong.yaml', text);
    assert.throws(
      () => readProviderExtras(folder, NODE),
      (err) => isFault(err, 'bad_request') && err.message.includes('wrong.yaml'),
      what,
    );
  }
});

test('two files about one node are refused', async () => {
  await write('a.yaml', GENERAL);
  await write('b.yaml', GENERAL);
  assert.throws(
    () => readProviderExtras(folder, NODE),
    (err) => isFault(err, 'bad_request') && /a\.yaml and .*b\.yaml/.test(err.message),
  );
});
