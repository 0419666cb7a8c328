/**
 * What is done at the start of the service about an instance that something
 * may have left in the middle. Pure; the rules and their order are Nova's.
 */
import { POWER, type PowerState } from './host.ts';

export interface Found {
  readonly vmState: string;
  readonly taskState: string | null;
  /** What the guest does now. */
  readonly power: PowerState;
  /** What the database says it does. */
  readonly savedPower: number | null;
  /** Work was under way here; false: its message still waits in the queue. */
  readonly isBegun: boolean;
  /** `resume_guests_state_on_host_boot`. */
  readonly resumes: boolean;
}

export type Recovery =
  | { readonly kind: 'leave' }
  /** No task any more; and this vm_state, when one is named. */
  | { readonly kind: 'clear'; readonly vmState?: string; readonly starts: boolean }
  /** In error, with a fault that says why. `endsRescue`: a guest that was put aside for a rescue comes back before. */
  | { readonly kind: 'fail'; readonly endsRescue?: true }
  | { readonly kind: 'delete' }
  | { readonly kind: 'repeat'; readonly method: string }
  | { readonly kind: 'reboot'; readonly type: 'SOFT' | 'HARD' }
  /** The host was started again: so is the guest. */
  | { readonly kind: 'start' };

const BUILDING = ['scheduling', 'block_device_mapping', 'networking', 'spawning'];
const REBUILDING = ['rebuilding', 'rebuild_block_device_mapping', 'rebuild_spawning'];
/** What is cut off here leaves nothing. Differs: image_backup, shelving and passwords are not in Nova's list; such servers hang there. */
const HARMLESS = [
  'image_snapshot_pending',
  'image_snapshot',
  'image_pending_upload',
  'image_uploading',
  'image_backup',
  'shelving',
  'shelving_image_pending_upload',
  'shelving_image_uploading',
  'resize_prep',
  'resize_migrating',
  'migrating',
  'updating_password',
];
const SOFT = ['rebooting', 'reboot_pending', 'reboot_started'];
const HARD = ['rebooting_hard', 'reboot_pending_hard', 'reboot_started_hard'];
const ALLOWS_SOFT = ['active'];
const ALLOWS_HARD = ['active', 'stopped', 'paused', 'suspended', 'error'];

/** Task states the API sets when it asks this host itself for what leaves the instance as it was. */
export const OF_THE_API_ALONE: readonly string[] = [
  'rebooting',
  'rebooting_hard',
  'pausing',
  'unpausing',
  'suspending',
  'resuming',
  'rescuing',
  'unrescuing',
  'updating_password',
];

/** Task states the API sets: whether work on them was begun must be asked. */
const OF_THE_API = [
  ...OF_THE_API_ALONE,
  'rebuilding',
  'soft-deleting',
  'restoring',
  'image_snapshot_pending',
  'image_backup',
  'shelving',
  'resize_prep',
];

const LEAVE: Recovery = { kind: 'leave' };
/** Which image it was to boot is not known any more; its own root must be what a hard reboot boots. */
const RESCUE_FAILED: Recovery = { kind: 'fail', endsRescue: true };

/**
 * True when the answer depends on whether work was begun.
 *
 * Differs: Nova takes away the task of a message that waits in the queue, which
 * then fails.
 */
export function mustAskIfBegun(taskState: string | null): boolean {
  return taskState !== null && OF_THE_API.includes(taskState);
}

export function recoveryOf(found: Found): Recovery {
  const { vmState, taskState } = found;
  // Differs: Nova leaves soft-deleted instances alone even while they are being deleted.
  if (taskState === 'deleting' || vmState === 'deleted') return { kind: 'delete' };
  if (taskState !== null && mustAskIfBegun(taskState) && !found.isBegun) return LEAVE;
  if (vmState === 'soft-delete' || (vmState === 'error' && taskState !== 'resize_migrating')) {
    return offOrInError(found);
  }
  if (vmState === 'building' || isOneOf(taskState, BUILDING)) return { kind: 'fail' };
  if (isOneOf(taskState, REBUILDING)) return { kind: 'fail' };
  return rebootOf(found) ?? inTask(found);
}

/** Nova leaves them. Differs: what the API cannot take up again is repeated or ends. */
function offOrInError({ vmState, taskState }: Found): Recovery {
  if (taskState === null) return LEAVE;
  if (vmState === 'soft-delete') {
    return taskState === 'restoring' ? { kind: 'repeat', method: 'restore_instance' } : LEAVE;
  }
  if (taskState === 'soft-deleting') return { kind: 'repeat', method: 'soft_delete_instance' };
  return taskState === 'rescuing' ? RESCUE_FAILED : { kind: 'clear', starts: false };
}

function rebootOf({ vmState, taskState, power }: Found): Recovery | null {
  if (!isOneOf(taskState, [...SOFT, ...HARD])) return null;
  const isRunning = power === POWER.running;
  const isPending =
    (taskState === 'reboot_pending' && ALLOWS_SOFT.includes(vmState)) ||
    (taskState === 'reboot_pending_hard' && ALLOWS_HARD.includes(vmState));
  if (isPending || !isRunning) {
    return { kind: 'reboot', type: isRunning && isOneOf(taskState, SOFT) ? 'SOFT' : 'HARD' };
  }
  return { kind: 'clear', vmState: 'active', starts: false };
}

function inTask(found: Found): Recovery {
  const { taskState, power } = found;
  const isRunning = power === POWER.running;
  switch (taskState) {
    case null:
      return mustStart(found) ? { kind: 'start' } : LEAVE;
    case 'pausing':
      return clear(found, { [POWER.running]: 'active', [POWER.paused]: 'paused' });
    case 'unpausing':
      if (power === POWER.paused) return { kind: 'repeat', method: 'unpause_instance' };
      return clear(found, { [POWER.running]: 'active' });
    case 'suspending':
      if (isRunning) return { kind: 'repeat', method: 'suspend_instance' };
      return clear(found, { [POWER.suspended]: 'suspended' });
    case 'resuming':
      if (power === POWER.suspended) return { kind: 'repeat', method: 'resume_instance' };
      return clear(found, { [POWER.running]: 'active' });
    case 'powering-off':
      return { kind: 'repeat', method: 'stop_instance' };
    case 'powering-on':
      return { kind: 'repeat', method: 'start_instance' };
    case 'soft-deleting':
      return { kind: 'repeat', method: 'soft_delete_instance' };
    case 'rescuing':
      return RESCUE_FAILED;
    case 'unrescuing':
      return { kind: 'repeat', method: 'unrescue_instance' };
    default:
      return isOneOf(taskState, HARMLESS) ? clear(found, {}) : LEAVE;
  }
}

/** `states`: the vm_state by what the guest does. */
function clear(found: Found, states: Readonly<Partial<Record<PowerState, string>>>): Recovery {
  const vmState = states[found.power];
  return { kind: 'clear', starts: mustStart(found), ...(vmState === undefined ? {} : { vmState }) };
}

/** It ran before, and now it is off: the host was started again. */
function mustStart({ power, savedPower, resumes }: Found): boolean {
  return resumes && savedPower === POWER.running && (power === POWER.shutdown || power === POWER.crashed);
}

function isOneOf(taskState: string | null, list: readonly string[]): boolean {
  return taskState !== null && list.includes(taskState);
}
