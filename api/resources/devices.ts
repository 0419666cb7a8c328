/** Network cards, graphics cards, PCI and USB devices. */
import type { ResourcesWire } from '../wire/resources.ts';
import type { PciNames } from './identify.ts';
import { driverOf, pciAddressOf, pciIdentity, usbAddressOf } from './identify.ts';
import type { Reader } from './reader.ts';

type NetworkCard = ResourcesWire['network']['cards'][number];
type Port = NonNullable<NetworkCard['ports']>[number];
type GpuCard = ResourcesWire['gpu']['cards'][number];
type Drm = NonNullable<GpuCard['drm']>;
type UsbInterface = ResourcesWire['usb']['devices'][number]['interfaces'][number];

const NET = 'sys/class/net';
const DRM = 'sys/class/drm';
const PCI = 'sys/bus/pci/devices';
const USB = 'sys/bus/usb/devices';
const PROTOCOLS: Readonly<Record<string, string>> = { '1': 'ethernet', '32': 'infiniband' };

/** Interfaces with a device behind them, those of one device as ports of one card. */
export function readNetwork(reader: Reader, names: PciNames): ResourcesWire['network'] {
  const cards = new Map<string, NetworkCard>();
  for (const name of reader.list(NET)) {
    const device = `${NET}/${name}/device`;
    const real = reader.real(device);
    if (real === null) continue;
    const card = cards.get(real) ?? {
      ...identityOf(reader, names, device),
      ports: [],
      numa_node: nodeOf(reader, device),
    };
    card.ports?.push(readPort(reader, name));
    cards.set(real, card);
  }
  return { cards: [...cards.values()], total: cards.size };
}

function readPort(reader: Reader, name: string): Port {
  const at = `${NET}/${name}`;
  const speed = reader.number(`${at}/speed`);
  const duplex = reader.text(`${at}/duplex`);
  return {
    id: name,
    address: reader.text(`${at}/address`) ?? '',
    port: reader.number(`${at}/dev_port`),
    protocol: PROTOCOLS[reader.text(`${at}/type`) ?? ''] ?? 'unknown',
    auto_negotiation: false,
    link_detected: reader.text(`${at}/carrier`) === '1',
    // Drivers without a speed say 2^32 - 1.
    ...(speed > 0 && speed < 0xffff_ffff ? { link_speed: speed } : {}),
    ...(duplex === null || duplex === 'unknown' ? {} : { link_duplex: duplex }),
  };
}

interface DeviceIdentity {
  driver?: string;
  driver_version?: string;
  pci_address?: string;
  usb_address?: string;
  vendor?: string;
  vendor_id?: string;
  product?: string;
  product_id?: string;
}

function identityOf(reader: Reader, names: PciNames, device: string): DeviceIdentity {
  const out: DeviceIdentity = { ...driverOf(reader, device) };
  const usb = usbAddressOf(reader, device);
  const pci = pciAddressOf(reader, device);
  if (usb !== null) out.usb_address = usb;
  else if (pci !== null) {
    out.pci_address = pci;
    Object.assign(out, withoutEmpty({ ...pciIdentity(reader, names, pci) }));
  }
  return out;
}

function nodeOf(reader: Reader, device: string): number {
  return reader.number(`${device}/numa_node`);
}

function withoutEmpty(map: Record<string, string>): Record<string, string> {
  return Object.fromEntries(Object.entries(map).filter(([, value]) => value !== ''));
}

export function readGpu(reader: Reader, names: PciNames): ResourcesWire['gpu'] {
  const cards = new Map<string, GpuCard>();
  for (const name of reader.list(DRM).filter((one) => /^card\d+$/.test(one))) {
    const device = `${DRM}/${name}/device`;
    const real = reader.real(device);
    if (real === null) continue;
    const drm = readDrm(reader, name);
    cards.set(real, { ...identityOf(reader, names, device), drm, numa_node: nodeOf(reader, device) });
  }
  return { cards: [...cards.values()], total: cards.size };
}

function readDrm(reader: Reader, name: string): Drm {
  const siblings = reader.list(`${DRM}/${name}/device/drm`);
  const named = (prefix: string): { name: string; device: string } | null => {
    const found = siblings.find((one) => one.startsWith(prefix));
    return found === undefined ? null : { name: found, device: reader.text(`${DRM}/${found}/dev`) ?? '' };
  };
  const [render, control] = [named('renderD'), named('controlD')];
  return {
    id: Number(name.slice('card'.length)),
    card_name: name,
    card_device: reader.text(`${DRM}/${name}/dev`) ?? '',
    ...(control === null ? {} : { control_name: control.name, control_device: control.device }),
    ...(render === null ? {} : { render_name: render.name, render_device: render.device }),
  };
}

export function readPci(reader: Reader, names: PciNames): ResourcesWire['pci'] {
  const devices = reader.list(PCI).map((address) => {
    const at = `${PCI}/${address}`;
    return {
      ...(driverOf(reader, at) ?? { driver: '', driver_version: '' }),
      numa_node: nodeOf(reader, at),
      pci_address: address,
      ...pciIdentity(reader, names, address),
      iommu_group: Number(reader.linkName(`${at}/iommu_group`) ?? '0'),
      vpd: {},
    };
  });
  return { devices, total: devices.length };
}

export function readUsb(reader: Reader): ResourcesWire['usb'] {
  const devices = reader
    .list(USB)
    // Root hubs (`usb1`) are part of the controller; names with a colon are interfaces.
    .filter((name) => /^\d+-[\d.]+$/.test(name))
    .map((name) => {
      const at = `${USB}/${name}`;
      return {
        bus_address: reader.number(`${at}/busnum`),
        device_address: reader.number(`${at}/devnum`),
        interfaces: usbInterfaces(reader, name),
        vendor: reader.text(`${at}/manufacturer`) ?? '',
        vendor_id: reader.text(`${at}/idVendor`) ?? '',
        product: reader.text(`${at}/product`) ?? '',
        product_id: reader.text(`${at}/idProduct`) ?? '',
        speed: Number(reader.text(`${at}/speed`) ?? '0') || 0,
      };
    });
  return { devices, total: devices.length };
}

/** Names of the USB classes a host meets. */
const USB_CLASSES: Readonly<Record<number, string>> = {
  1: 'Audio',
  2: 'Communications',
  3: 'Human Interface Device',
  6: 'Imaging',
  7: 'Printer',
  8: 'Mass Storage',
  9: 'Hub',
  10: 'CDC Data',
  11: 'Smart Card',
  14: 'Video',
  224: 'Wireless',
  239: 'Miscellaneous',
  254: 'Application Specific Interface',
  255: 'Vendor Specific Class',
};

function usbInterfaces(reader: Reader, device: string): UsbInterface[] {
  return reader
    .list(`${USB}/${device}`)
    .filter((name) => name.startsWith(`${device}:`))
    .map((name) => {
      const at = `${USB}/${device}/${name}`;
      const hex = (file: string): number => parseInt(reader.hex(`${at}/${file}`), 16) || 0;
      const classId = hex('bInterfaceClass');
      return {
        class: USB_CLASSES[classId] ?? '',
        class_id: classId,
        ...(driverOf(reader, at) ?? { driver: '', driver_version: '' }),
        number: hex('bInterfaceNumber'),
        subclass: '',
        subclass_id: hex('bInterfaceSubClass'),
      };
    });
}
