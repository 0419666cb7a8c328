/** What the firmware tells of the machine (DMI). */
import type { ResourcesWire } from '../wire/resources.ts';
import type { Reader } from './reader.ts';

const DMI = 'sys/class/dmi/id';

/** SMBIOS chassis types that hosts have; others are shown by their number. */
const CHASSIS: Readonly<Record<string, string>> = {
  '1': 'other',
  '3': 'desktop',
  '4': 'low profile desktop',
  '6': 'mini tower',
  '7': 'tower',
  '8': 'portable',
  '9': 'laptop',
  '10': 'notebook',
  '13': 'all in one',
  '17': 'main server chassis',
  '23': 'rack mount chassis',
  '25': 'multi-system chassis',
  '28': 'blade',
  '29': 'blade enclosure',
  '35': 'mini PC',
};

export function readSystem(reader: Reader): ResourcesWire['system'] {
  const dmi = (file: string): string => reader.text(`${DMI}/${file}`) ?? '';
  const hasDmi = reader.list(DMI).length > 0;
  const chassis = dmi('chassis_type');
  return {
    uuid: dmi('product_uuid'),
    vendor: dmi('sys_vendor'),
    product: dmi('product_name'),
    family: dmi('product_family'),
    version: dmi('product_version'),
    sku: dmi('product_sku'),
    serial: dmi('product_serial'),
    type: kindOf(reader),
    firmware: hasDmi
      ? { vendor: dmi('bios_vendor'), date: dmi('bios_date'), version: dmi('bios_version') }
      : null,
    chassis: hasDmi
      ? {
          vendor: dmi('chassis_vendor'),
          type: CHASSIS[chassis] ?? chassis,
          serial: dmi('chassis_serial'),
          version: dmi('chassis_version'),
        }
      : null,
    motherboard: hasDmi
      ? {
          vendor: dmi('board_vendor'),
          product: dmi('board_name'),
          serial: dmi('board_serial'),
          version: dmi('board_version'),
        }
      : null,
  };
}

/** systemd leaves the first file where it runs in a container; liblxc sets the variable for init. */
function kindOf(reader: Reader): string {
  const isContainer =
    reader.has('run/systemd/container') ||
    (reader.text('proc/1/environ') ?? '').split('\0').some(isContainerMark);
  if (isContainer) return 'container';
  return /^flags\s*:.*\bhypervisor\b/m.test(reader.text('proc/cpuinfo') ?? '')
    ? 'virtual-machine'
    : 'physical';
}

function isContainerMark(variable: string): boolean {
  return variable.startsWith('container=');
}
