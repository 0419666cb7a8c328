/**
 * The periodic tasks of Nova's compute manager, those that make sense here.
 *
 * Differs: _run_pending_deletes is missing, since a container's files go with
 * it; so are the tasks of what this service refuses (resizes, shelving) and of
 * what is off in Nova unless somebody wants it (usage audits, volume usage).
 */
import type { Periodic } from '../../process/periodic.ts';
import { serviceContext } from '../cloud/call-context.ts';
import { adminContext, requestIdOf } from '../nova/context.ts';
import { HealInfoCache } from './heal-info-cache.ts';
import type { ComputeHost } from './host.ts';
import { LostRequests } from './lost-requests.ts';
import { syncPowerStates } from './power-sync.ts';
import { closeLostMigrations, reapDeleted, reclaimDeleted } from './stale-instances.ts';
import { endBuilds, endReboots, endRescues } from './time-limits.ts';

const DEFAULT_S = 60;

/** All of them that the options do not turn off. */
export function periodicTasks(host: ComputeHost): readonly Periodic[] {
  const { DEFAULT: options, image_cache: cache } = host.options;
  const cleanS = options.instance_delete_interval;
  const heal = new HealInfoCache(host);
  const lost = new LostRequests(host);
  const powerS = options.sync_power_state_interval;
  return [
    ...every('sync_power_states', powerS === 0 ? DEFAULT_S : powerS, () => syncPowerStates(host)),
    ...every('heal_instance_info_cache', options.heal_instance_info_cache_interval, () => heal.run()),
    ...every(
      'cleanup_running_deleted_instances',
      options.running_deleted_instance_action === 'noop' ? 0 : options.running_deleted_instance_poll_interval,
      () => reapDeleted(host),
    ),
    ...every('reclaim_queued_deletes', options.reclaim_instance_interval, () => reclaimDeleted(host)),
    ...every('poll_rebooting_instances', options.reboot_timeout > 0 ? DEFAULT_S : 0, () => endReboots(host)),
    ...every('poll_rescued_instances', options.rescue_timeout > 0 ? DEFAULT_S : 0, () => endRescues(host)),
    ...every('check_instance_build_time', options.instance_build_timeout > 0 ? DEFAULT_S : 0, () =>
      endBuilds(host),
    ),
    ...every('end_lost_requests', DEFAULT_S, () => lost.run()),
    ...every('cleanup_incomplete_migrations', cleanS, () => closeLostMigrations(host)),
    ...every('cleanup_expired_console_auth_tokens', cleanS, () => dropConsoleTokens(host)),
    ...every(
      'run_image_cache_manager_pass',
      cache.remove_unused_base_images ? cache.manager_interval : 0,
      () => ageImages(host),
    ),
  ];
}

function every(name: string, seconds: number, run: () => Promise<void>): readonly Periodic[] {
  return seconds > 0 ? [{ name, everyMs: seconds * 1000, run }] : [];
}

async function dropConsoleTokens(host: ComputeHost): Promise<void> {
  await host.conductor.classCall(adminContext(), {
    object: 'ConsoleAuthToken',
    method: 'clean_expired_console_auths_for_host',
    args: [host.name],
  });
}

/** Images of Glance that no instance of this host was made of. Soft-deleted ones count: they may come back. */
async function ageImages(host: ComputeHost): Promise<void> {
  const context = adminContext();
  const instances = await host.conductor.classList(context, {
    object: 'InstanceList',
    method: 'get_by_filters',
    args: [{ deleted: false, soft_deleted: true, host: [host.name] }],
    kwargs: { expected_attrs: [], use_slave: true },
  });
  const used = new Set(instances.map((one) => one.textOrNull('image_ref') ?? ''));
  const minAgeMs = host.options.image_cache.remove_unused_original_minimum_age_seconds * 1000;
  await host.images.age(serviceContext(requestIdOf(context), host.signal), used, minAgeMs);
}
