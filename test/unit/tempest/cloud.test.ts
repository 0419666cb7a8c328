/** What `npm run cloud` writes, without a cloud. */
import assert from 'node:assert/strict';
import { mkdtemp, readdir, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { runTool } from '../../../api/tools.ts';
import { loadComputeConfig } from '../../../config/load-compute.ts';
import { loadDaemonConfig } from '../../../config/load.ts';
import { PROGRAM_ROOT } from '../../../config/root.ts';
import { Progress } from '../../../api/setup/progress.ts';
import { novaConf } from '../../../tempest/cloud/compute-host.ts';
import { controlPackages } from '../../../tempest/cloud/debian-tree.ts';
import { ensureFacts, openCloud, readFacts, type CloudFacts } from '../../../tempest/cloud/setting.ts';

const FACTS: CloudFacts = {
  management: '10.80.40',
  floating: '10.80.41',
  password: 'geheim',
  host: 'node-7',
};
const FOLDERS = ['guest', 'host'].map((name) => join(PROGRAM_ROOT, 'tempest', 'cloud', name));

async function inFolder(work: (folder: string) => Promise<void>): Promise<void> {
  const folder = await mkdtemp(join(tmpdir(), 'slipway-cloud-'));
  try {
    await work(folder);
  } finally {
    await rm(folder, { recursive: true });
  }
}

test('the compute service understands every line of the nova.conf it gets', async () => {
  await inFolder(async (folder) => {
    const places = { cache: folder, home: folder, daemon: loadDaemonConfig({ stateDir: folder }) };
    const cloud = openCloud(places, FACTS, new Progress(process.stderr), new AbortController().signal);
    const file = join(folder, 'nova.conf');
    await writeFile(file, novaConf(cloud));
    const config = loadComputeConfig(['--config-file', file]);
    assert.deepEqual(config.warnings, []);
    assert.equal(config.options.DEFAULT.host, 'node-7');
    assert.equal(config.options.DEFAULT.my_ip, '10.80.40.1');
    assert.equal(config.options.neutron.password, 'geheim');
    assert.equal(config.options.slipway.socket, join(folder, 'unix.socket'));
    cloud.lxd.close();
  });
});

test('facts of a cloud are made once and kept', async () => {
  await inFolder(async (folder) => {
    assert.equal(await readFacts(folder), null);
    const made = await ensureFacts(folder);
    assert.match(made.management, /^10\.80\.\d+$/);
    assert.notEqual(made.management, made.floating);
    assert.deepEqual(await ensureFacts(folder), made);
  });
});

test('a file of facts that is not ours is refused and not replaced', async () => {
  await inFolder(async (folder) => {
    await writeFile(join(folder, 'cloud.json'), '{"password": 1}');
    await assert.rejects(ensureFacts(folder), /another version/);
  });
});

test('the shell reads every script of the cloud', async () => {
  for (const folder of FOLDERS) {
    const scripts = (await readdir(folder)).filter((name) => name.endsWith('.sh'));
    assert.notEqual(scripts.length, 0);
    for (const name of scripts) await runTool('bash', ['-n', join(folder, name)]);
  }
});

test('each package of the image is named once', async () => {
  const names = await controlPackages();
  assert.deepEqual(names, [...new Set(names)]);
  for (const name of names) assert.match(name, /^[a-z0-9][a-z0-9.+-]+$/);
});

test('every setting that a script of the guest reads is given to it', async () => {
  const given = ['CONTROL_IP', 'HOST_IP', 'PASSWORD', 'REGION', 'PHYSICAL_NETWORK'];
  const texts = await Promise.all(
    (await readdir(FOLDERS[0] ?? '')).map((name) => readFile(join(FOLDERS[0] ?? '', name), 'utf8')),
  );
  const text = texts.join('\n');
  const own = [...text.matchAll(/^(?:readonly )?([A-Z_]+)=/gm)].map((match) => match[1]);
  const used = new Set([...text.matchAll(/\$\{?([A-Z][A-Z_]+)/g)].map((match) => match[1] ?? ''));
  const known = [...given, ...own, 'OVN_CTL_OPTS', 'BASH_SOURCE', 'GLOBAL'];
  assert.deepEqual(
    [...used].filter((name) => !known.includes(name)),
    [],
  );
});
