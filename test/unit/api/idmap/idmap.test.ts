import assert from 'node:assert/strict';
import { test } from 'node:test';
import {
  DEFAULT_RANGE,
  buildIdmap,
  hostRange,
  idmapWish,
  parseRawIdmap,
  placeIdmap,
  renderIdmap,
  toHostId,
} from '../../../../api/idmap/idmap.ts';
import { Fault } from '../../../../process/fault.ts';

const HOST = { start: 1_000_000, size: 1_000_000_000 };

test('a host without ranges for root gives the default range', () => {
  assert.deepEqual(hostRange('', ''), DEFAULT_RANGE);
  assert.deepEqual(hostRange('alice:100000:65536\n', 'alice:100000:65536\n'), DEFAULT_RANGE);
});

test('the first range of root that is large enough is taken, and both files must agree', () => {
  assert.deepEqual(hostRange('root:500:10\nroot:100000:200000\n', 'root:100000:200000\n'), {
    start: 100_000,
    size: 200_000,
  });
  assert.deepEqual(hostRange('root:100000:200000\n', 'root:150000:200000\n'), {
    start: 150_000,
    size: 150_000,
  });
});

test('an instance that is not isolated has the whole range', () => {
  assert.deepEqual(placeIdmap(idmapWish({}), HOST, [], null), HOST);
});

test('isolated instances get the first gap, and keep what they have', () => {
  const wish = idmapWish({ 'security.idmap.isolated': 'True' });
  const first = HOST.start + 65_536;
  assert.deepEqual(placeIdmap(wish, HOST, [], null), { start: first, size: 65_536 });
  const taken = [
    { start: first, size: 65_536 },
    { start: first + 3 * 65_536, size: 65_536 },
  ];
  assert.deepEqual(placeIdmap(wish, HOST, taken, null), { start: first + 65_536, size: 65_536 });
  assert.deepEqual(placeIdmap(wish, HOST, taken, first + 8 * 65_536), {
    start: first + 8 * 65_536,
    size: 65_536,
  });
});

test('no two isolated instances ever share an id', () => {
  const wish = idmapWish({ 'security.idmap.isolated': 'true', 'security.idmap.size': '70000' });
  const taken: { start: number; size: number }[] = [];
  for (let n = 0; n < 200; n += 1) taken.push(placeIdmap(wish, HOST, taken, null));
  const sorted = [...taken].sort((a, b) => a.start - b.start);
  for (const [i, range] of sorted.entries()) {
    const before = sorted[i - 1];
    if (before !== undefined) assert.ok(before.start + before.size <= range.start);
  }
});

test('a base outside the range and a full range are refused', () => {
  const based = idmapWish({ 'security.idmap.isolated': 'true', 'security.idmap.base': '5' });
  assert.throws(() => placeIdmap(based, HOST, [], null), Fault);
  const small = { start: 1000, size: 2 * 65_536 };
  const wish = idmapWish({ 'security.idmap.isolated': 'true' });
  const one = placeIdmap(wish, small, [], null);
  assert.throws(() => placeIdmap(wish, small, [one], null), /no 65536 free ids/);
});

test('raw.idmap punches its ids out of the range', () => {
  const wish = idmapWish({ 'raw.idmap': 'uid 500 1000\nboth 10-12 20-22' });
  const map = buildIdmap(wish, { start: 100_000, size: 65_536 });
  assert.equal(toHostId(map, 'u', 1000), 500);
  assert.equal(toHostId(map, 'g', 1000), 101_000);
  assert.equal(toHostId(map, 'u', 21), 11);
  assert.equal(toHostId(map, 'g', 21), 11);
  assert.equal(toHostId(map, 'u', 23), 100_023);
  assert.equal(toHostId(map, 'u', 70_000), null);
});

test('wrong raw.idmap lines are refused with the line', () => {
  for (const line of ['uid', 'both 1-2 3', 'uid a b', 'user 1 2', 'uid 5-3 1']) {
    assert.throws(() => parseRawIdmap(line), Fault, line);
  }
  const wish = idmapWish({ 'raw.idmap': 'uid 100005 7' });
  assert.throws(() => buildIdmap(wish, { start: 100_000, size: 65_536 }), /own range/);
});

test('a privileged instance has no map', () => {
  assert.deepEqual(buildIdmap(idmapWish({ 'security.privileged': '1' }), HOST), []);
  assert.equal(renderIdmap([]), '[]');
});

test('the map is kept in the form of LXD', () => {
  const text = renderIdmap(buildIdmap(idmapWish({}), { start: 1000, size: 10 }));
  assert.equal(
    text,
    '[{"Isuid":true,"Isgid":false,"Hostid":1000,"Nsid":0,"Maprange":10},{"Isuid":false,"Isgid":true,"Hostid":1000,"Nsid":0,"Maprange":10}]',
  );
});
