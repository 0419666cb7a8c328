/** `/1.0/instances/{name}/config-drive`: what cloud-init finds at /config-drive. */
import type { Readable } from 'node:stream';
import { Fault } from '../../process/fault.ts';
import type { InstanceRow } from '../db/rows.ts';
import type { Call, Route } from '../http/route.ts';
import { answers } from '../http/route.ts';
import type { StateChanges } from '../instances/change-state.ts';
import {
  MAX_DRIVE_BYTES,
  filesOfTar,
  listDrive,
  removeDrive,
  writeDrive,
} from '../instances/config-drive.ts';
import { instanceUrl } from '../instances/instance-url.ts';
import type { InstanceParts } from '../instances/parts.ts';
import { instanceDrive } from '../wire/instances.ts';

const DRIVE = '/1.0/instances/{name}/config-drive';

type DriveParts = Pick<InstanceParts, 'store' | 'lanes' | 'events' | 'paths' | 'runtime'>;

export function instanceDriveRoutes(parts: DriveParts, changes: StateChanges): Route[] {
  const change = async (call: Call, work: (row: InstanceRow) => Promise<void>) => {
    const { id } = find(parts, call);
    changes.refuseWhileStopping(id);
    await parts.lanes.run(id, () => {
      const row = parts.store.byId(id);
      if (parts.runtime.status(id) !== 'Stopped') {
        throw new Fault('bad_request', 'Instance is running: stop it before its config drive is changed');
      }
      return work(row);
    });
    const row = parts.store.byId(id);
    const { requestor } = call.caller;
    parts.events.lifecycle('instance-updated', instanceUrl(row), { project: row.project, requestor });
    return answers.empty();
  };
  return [
    {
      method: 'GET',
      path: DRIVE,
      access: 'project',
      summary: 'Lists the files of the config drive with their sizes.',
      answer: instanceDrive,
      handle: async (call) => answers.sync({ files: await listDrive(parts.paths, find(parts, call)) }),
    },
    {
      method: 'PUT',
      path: DRIVE,
      access: 'project',
      summary: 'Makes the files of a tar archive the config drive of a stopped instance.',
      body: 'stream',
      handle: async (call) => {
        find(parts, call);
        const files = await filesOfTar(await readAll(call.stream));
        return change(call, (row) => writeDrive(parts.paths, row, files));
      },
    },
    {
      method: 'DELETE',
      path: DRIVE,
      access: 'project',
      summary: 'Removes the config drive of a stopped instance.',
      handle: (call) => change(call, (row) => removeDrive(parts.paths, row)),
    },
  ];
}

function find(parts: DriveParts, call: Call): InstanceRow {
  return parts.store.byName(call.project, call.params['name'] ?? '');
}

async function readAll(stream: Readable): Promise<Buffer> {
  const chunks: Buffer[] = [];
  let size = 0;
  for await (const chunk of stream) {
    const bytes = Buffer.from(chunk as Buffer); // a body's stream has no encoding set
    size += bytes.length;
    if (size > MAX_DRIVE_BYTES) {
      throw new Fault(
        'too_large',
        `a config drive can have at most ${String(MAX_DRIVE_BYTES / 2 ** 20)} MiB`,
      );
    }
    chunks.push(bytes);
  }
  return Buffer.concat(chunks);
}
