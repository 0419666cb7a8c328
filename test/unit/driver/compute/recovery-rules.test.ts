import assert from 'node:assert/strict';
import { test } from 'node:test';
import { POWER } from '../../../../driver/compute/host.ts';
import {
  mustAskIfBegun,
  recoveryOf,
  type Found,
  type Recovery,
} from '../../../../driver/compute/recovery-rules.ts';

const ON = POWER.running;
const OFF = POWER.shutdown;

function found(given: Partial<Found>): Found {
  return {
    vmState: 'active',
    taskState: null,
    power: ON,
    savedPower: ON,
    isBegun: true,
    resumes: false,
    ...given,
  };
}

const LEAVE: Recovery = { kind: 'leave' };
const FAIL: Recovery = { kind: 'fail' };
const RESCUE_FAILED: Recovery = { kind: 'fail', endsRescue: true };
const DELETE: Recovery = { kind: 'delete' };
const repeat = (method: string): Recovery => ({ kind: 'repeat', method });
const reboot = (type: 'SOFT' | 'HARD'): Recovery => ({ kind: 'reboot', type });
const clear = (vmState?: string): Recovery => ({
  kind: 'clear',
  starts: false,
  ...(vmState === undefined ? {} : { vmState }),
});

/** vm_state, task_state, what the guest does, what is done about it. */
const ROWS: readonly (readonly [string, string | null, Found['power'], Recovery])[] = [
  ['active', null, ON, LEAVE],
  ['active', null, OFF, LEAVE],
  ['stopped', null, OFF, LEAVE],
  ['paused', null, POWER.paused, LEAVE],
  ['rescued', null, ON, LEAVE],
  ['soft-delete', null, OFF, LEAVE],
  ['error', null, ON, LEAVE],
  ['deleted', null, POWER.noState, DELETE],
  ['soft-delete', 'deleting', OFF, DELETE],
  ['active', 'deleting', ON, DELETE],
  ['error', 'deleting', POWER.noState, DELETE],
  ['building', 'deleting', POWER.noState, DELETE],
  ['building', null, POWER.noState, FAIL],
  ['building', 'scheduling', POWER.noState, FAIL],
  ['building', 'networking', POWER.noState, FAIL],
  ['building', 'block_device_mapping', POWER.noState, FAIL],
  ['building', 'spawning', ON, FAIL],
  ['active', 'spawning', ON, FAIL],
  ['active', 'rebuilding', ON, FAIL],
  ['active', 'rebuild_block_device_mapping', POWER.noState, FAIL],
  ['stopped', 'rebuild_spawning', POWER.noState, FAIL],
  ['active', 'image_snapshot_pending', ON, clear()],
  ['active', 'image_snapshot', ON, clear()],
  ['active', 'image_pending_upload', ON, clear()],
  ['stopped', 'image_uploading', OFF, clear()],
  ['active', 'image_backup', ON, clear()],
  ['active', 'shelving', ON, clear()],
  ['active', 'resize_prep', ON, clear()],
  ['active', 'updating_password', ON, clear()],
  ['active', 'migrating', ON, clear()],
  ['active', 'resize_migrating', OFF, clear()],
  ['error', 'resize_migrating', OFF, clear()],
  ['active', 'reboot_pending', ON, reboot('SOFT')],
  ['active', 'reboot_pending', OFF, reboot('HARD')],
  ['active', 'reboot_pending_hard', ON, reboot('HARD')],
  ['stopped', 'reboot_pending_hard', OFF, reboot('HARD')],
  ['active', 'reboot_started', OFF, reboot('HARD')],
  ['active', 'reboot_started', ON, clear('active')],
  ['active', 'reboot_started_hard', OFF, reboot('HARD')],
  ['active', 'reboot_started_hard', ON, clear('active')],
  ['active', 'rebooting', OFF, reboot('HARD')],
  ['active', 'rebooting', ON, clear('active')],
  ['stopped', 'rebooting_hard', OFF, reboot('HARD')],
  ['active', 'rebooting_hard', ON, clear('active')],
  ['active', 'pausing', ON, clear('active')],
  ['active', 'pausing', POWER.paused, clear('paused')],
  ['active', 'pausing', OFF, clear()],
  ['paused', 'unpausing', ON, clear('active')],
  ['paused', 'unpausing', POWER.paused, repeat('unpause_instance')],
  ['paused', 'unpausing', OFF, clear()],
  ['active', 'powering-off', ON, repeat('stop_instance')],
  ['active', 'powering-off', OFF, repeat('stop_instance')],
  ['stopped', 'powering-on', OFF, repeat('start_instance')],
  ['stopped', 'powering-on', ON, repeat('start_instance')],
  ['active', 'suspending', ON, repeat('suspend_instance')],
  ['active', 'suspending', POWER.suspended, clear('suspended')],
  ['active', 'suspending', OFF, clear()],
  ['suspended', 'resuming', POWER.suspended, repeat('resume_instance')],
  ['suspended', 'resuming', ON, clear('active')],
  ['suspended', 'resuming', OFF, clear()],
  ['active', 'rescuing', ON, RESCUE_FAILED],
  ['stopped', 'rescuing', POWER.noState, RESCUE_FAILED],
  ['rescued', 'unrescuing', OFF, repeat('unrescue_instance')],
  ['active', 'soft-deleting', ON, repeat('soft_delete_instance')],
  ['error', 'soft-deleting', ON, repeat('soft_delete_instance')],
  ['soft-delete', 'restoring', OFF, repeat('restore_instance')],
  ['error', 'reboot_started_hard', OFF, clear()],
  ['error', 'rescuing', OFF, RESCUE_FAILED],
  ['active', 'a task nobody knows', ON, LEAVE],
];

for (const [vmState, taskState, power, recovery] of ROWS) {
  test(`an instance found ${vmState} in task ${String(taskState)}, its guest in state ${String(power)}: ${recovery.kind}`, () => {
    assert.deepEqual(recoveryOf(found({ vmState, taskState, power })), recovery);
  });
}

test('what waits in the queue keeps its task: the message does the work', () => {
  const tasks = ROWS.flatMap(([, taskState]) => (taskState === null ? [] : [taskState]));
  const waiting = tasks.filter((taskState) => mustAskIfBegun(taskState));
  assert.ok(waiting.includes('pausing') && waiting.includes('rebooting') && waiting.includes('rescuing'));
  for (const taskState of waiting) {
    assert.deepEqual(recoveryOf(found({ taskState, isBegun: false })), LEAVE, taskState);
  }
});

test('what this service set itself was begun: nobody is asked', () => {
  for (const taskState of [
    null,
    'spawning',
    'reboot_started',
    'deleting',
    'rebuild_spawning',
    'powering-off',
  ]) {
    assert.equal(mustAskIfBegun(taskState), false, String(taskState));
  }
});

test('after a start of the host what ran runs again, if that is wanted', () => {
  assert.deepEqual(recoveryOf(found({ power: OFF, resumes: true })), { kind: 'start' });
  assert.deepEqual(recoveryOf(found({ power: OFF, resumes: false })), LEAVE);
  const cut = found({ power: OFF, resumes: true, taskState: 'image_uploading' });
  assert.deepEqual(recoveryOf(cut), { kind: 'clear', starts: true });
});

test('what was off stays off, and what is not there is not started', () => {
  assert.deepEqual(recoveryOf(found({ power: OFF, savedPower: OFF, resumes: true })), LEAVE);
  assert.deepEqual(recoveryOf(found({ power: POWER.noState, resumes: true })), LEAVE);
  assert.deepEqual(recoveryOf(found({ power: POWER.paused, resumes: true })), LEAVE);
});
