import assert from 'node:assert/strict';
import { test } from 'node:test';
import { networksPost } from '../../../../api/wire/networks.ts';
import { profilesPost } from '../../../../api/wire/profiles.ts';
import { projectsPost } from '../../../../api/wire/projects.ts';

test('null is what Go reads it as: the empty value', () => {
  const config = { 'user.a': null, 'user.b': 'x' };
  const read = { 'user.a': '', 'user.b': 'x' };
  const empty = { name: 'x', config: null, description: null };
  assert.deepEqual(networksPost.parse({ ...empty, type: null }), { ...empty, type: null });
  assert.deepEqual(networksPost.parse({ name: 'x', config }).config, read);
  assert.deepEqual(projectsPost.parse({ name: 'x', config }).config, read);
  const profile = profilesPost.parse({ name: 'x', config, devices: { eth0: config } });
  assert.deepEqual(profile, { name: 'x', config: read, devices: { eth0: read } });
  assert.ok(!profilesPost.safeParse({ name: 'x', config: { 'user.a': 1 } }).success);
});
