/** Disks and their partitions. */
import type { ResourcesWire } from '../wire/resources.ts';
import { pciAddressOf, usbAddressOf } from './identify.ts';
import type { Reader } from './reader.ts';

type Storage = ResourcesWire['storage'];
type Disk = Storage['disks'][number];

const BLOCK = 'sys/class/block';
/** /sys counts in these whatever the disk's own sectors are. */
const SECTOR = 512;

export function readStorage(reader: Reader): Storage {
  const ids = linksByTarget(reader, 'dev/disk/by-id');
  const paths = linksByTarget(reader, 'dev/disk/by-path');
  const disks = reader
    .list(BLOCK)
    // Loop, device-mapper and RAM disks have no device behind them.
    .filter((name) => reader.has(`${BLOCK}/${name}/device`) && !reader.has(`${BLOCK}/${name}/partition`))
    .map((name) => readDisk(reader, name, ids.get(name) ?? '', paths.get(name) ?? ''));
  return { disks, total: disks.length };
}

function readDisk(reader: Reader, name: string, deviceId: string, devicePath: string): Disk {
  const at = `${BLOCK}/${name}`;
  const device = reader.text(`${at}/dev`) ?? '';
  const udev = udevProperties(reader, device);
  const usb = usbAddressOf(reader, `${at}/device`);
  return {
    id: name,
    device,
    ...optional('model', reader.text(`${at}/device/model`) ?? ''),
    ...optional('type', usb === null ? busOf(reader, at) : 'usb'),
    read_only: reader.text(`${at}/ro`) === '1',
    size: reader.number(`${at}/size`) * SECTOR,
    removable: reader.text(`${at}/removable`) === '1',
    ...optional('wwn', reader.text(`${at}/wwid`) ?? reader.text(`${at}/device/wwid`) ?? ''),
    numa_node: reader.number(`${at}/device/numa_node`, reader.number(`${at}/device/device/numa_node`)),
    ...optional('device_path', devicePath),
    block_size: reader.number(`${at}/queue/logical_block_size`),
    ...optional(
      'firmware_version',
      reader.text(`${at}/device/firmware_rev`) ?? reader.text(`${at}/device/rev`) ?? '',
    ),
    // LXD tells 1 for a rotating disk whose speed it does not know.
    rpm: reader.number(`${at}/queue/rotational`),
    ...optional('serial', reader.text(`${at}/device/serial`) ?? udev.get('ID_SERIAL_SHORT') ?? ''),
    device_id: deviceId,
    partitions: partitions(reader, name),
    ...optional('pci_address', pciAddressOf(reader, `${at}/device`) ?? ''),
    ...optional('usb_address', usb ?? ''),
  };
}

function partitions(reader: Reader, disk: string): Disk['partitions'] {
  return reader
    .list(`${BLOCK}/${disk}`)
    .filter((name) => name.startsWith(disk) && reader.has(`${BLOCK}/${disk}/${name}/partition`))
    .map((name) => ({
      id: name,
      device: reader.text(`${BLOCK}/${disk}/${name}/dev`) ?? '',
      read_only: reader.text(`${BLOCK}/${disk}/${name}/ro`) === '1',
      size: reader.number(`${BLOCK}/${disk}/${name}/size`) * SECTOR,
      partition: reader.number(`${BLOCK}/${disk}/${name}/partition`),
    }));
}

function busOf(reader: Reader, at: string): string {
  const subsystem = reader.linkName(`${at}/device/subsystem`) ?? '';
  if (subsystem !== 'scsi') return subsystem;
  return (reader.real(`${at}/device`) ?? '').includes('/ata') ? 'sata' : 'scsi';
}

/** Name of a block device -> the first stable name in the folder that leads to it. */
function linksByTarget(reader: Reader, folder: string): Map<string, string> {
  const out = new Map<string, string>();
  for (const link of reader.list(folder)) {
    const target = reader.linkName(`${folder}/${link}`);
    if (target !== null && !out.has(target)) out.set(target, link);
  }
  return out;
}

function udevProperties(reader: Reader, device: string): Map<string, string> {
  const out = new Map<string, string>();
  for (const match of (reader.text(`run/udev/data/b${device}`) ?? '').matchAll(/^E:([^=]+)=(.*)$/gm)) {
    out.set(match[1] ?? '', match[2] ?? '');
  }
  return out;
}

function optional<K extends string>(key: K, value: string): Partial<Record<K, string>> {
  if (value === '') return {};
  const out: Partial<Record<K, string>> = {};
  out[key] = value;
  return out;
}
