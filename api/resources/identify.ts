/** What a device in /sys is: its driver, its place on PCI or USB, the names of its maker and product. */
import { release } from 'node:os';
import type { Reader } from './reader.ts';

const PCI_IDS = ['usr/share/misc/pci.ids', 'usr/share/hwdata/pci.ids'];
const PCI_ADDRESS = /^[0-9a-f]{4,5}:[0-9a-f]{2}:[0-9a-f]{2}\.[0-7]$/;
const USB_ADDRESS = /^\d+-\d+(\.\d+)*$/;

export interface Driver {
  readonly driver: string;
  readonly driver_version: string;
}

/** null when nothing drives the device. Drivers without a version are of the kernel's, as LXD tells it. */
export function driverOf(reader: Reader, device: string): Driver | null {
  const driver = reader.linkName(`${device}/driver`);
  if (driver === null) return null;
  return { driver, driver_version: reader.text(`${device}/driver/module/version`) ?? release() };
}

/** `0000:00:03.0` of the device or of what it hangs on; null off PCI. */
export function pciAddressOf(reader: Reader, device: string): string | null {
  return lastPart(reader.real(device), PCI_ADDRESS);
}

/** `bus:device` of a device on USB; null elsewhere. */
export function usbAddressOf(reader: Reader, device: string): string | null {
  const real = reader.real(device);
  const part = lastPart(real, USB_ADDRESS);
  if (real === null || part === null) return null;
  const at = real.slice(0, real.indexOf(`/${part}`) + part.length + 1);
  const bus = reader.number(`${at}/busnum`, -1);
  return bus < 0 ? null : `${String(bus)}:${String(reader.number(`${at}/devnum`))}`;
}

function lastPart(path: string | null, pattern: RegExp): string | null {
  return path?.split('/').findLast((part) => pattern.test(part)) ?? null;
}

export interface PciIdentity {
  readonly vendor: string;
  readonly vendor_id: string;
  readonly product: string;
  readonly product_id: string;
}

/** Numbers of a PCI device, and their names where the host has the list of them. */
export function pciIdentity(reader: Reader, names: PciNames, address: string): PciIdentity {
  const at = `sys/bus/pci/devices/${address}`;
  const vendorId = reader.hex(`${at}/vendor`);
  const productId = reader.hex(`${at}/device`);
  return { ...names.of(vendorId, productId), vendor_id: vendorId, product_id: productId };
}

/** The list of PCI ids, searched as text: a request asks for some dozens of its 40,000 lines. */
export class PciNames {
  private readonly content: string;

  constructor(reader: Reader) {
    this.content = PCI_IDS.map((path) => reader.text(path)).find((text) => text !== null) ?? '';
  }

  of(vendorId: string, productId: string): { vendor: string; product: string } {
    const start = vendorId === '' ? -1 : `\n${this.content}`.indexOf(`\n${vendorId}  `);
    if (start < 0) return { vendor: '', product: '' };
    const lines = this.content.slice(start, start + 65_536).split('\n');
    const vendor = lines[0]?.slice(vendorId.length + 2) ?? '';
    for (const line of lines.slice(1)) {
      if (line !== '' && !line.startsWith('\t') && !line.startsWith('#')) break;
      if (line.startsWith(`\t${productId}  `)) return { vendor, product: line.slice(productId.length + 3) };
    }
    return { vendor, product: '' };
  }
}
