/** Shape of `/1.0/resources`. */
import { z } from 'zod';

const number = z.number();
const string = z.string();

const cpu = z.object({
  architecture: string,
  sockets: z.array(
    z.object({
      name: string.optional(),
      vendor: string.optional(),
      socket: number,
      cache: z.array(z.object({ level: number, type: string, size: number })).optional(),
      cores: z.array(
        z.object({
          core: number,
          die: number,
          threads: z.array(
            z.object({
              id: number,
              numa_node: number,
              thread: number,
              online: z.boolean(),
              isolated: z.boolean(),
            }),
          ),
          frequency: number.optional(),
        }),
      ),
      frequency: number.optional(),
      frequency_minimum: number.optional(),
      frequency_turbo: number.optional(),
    }),
  ),
  total: number,
});

const memoryNode = z.object({
  numa_node: number,
  hugepages_used: number,
  hugepages_total: number,
  used: number,
  total: number,
});

const memory = z.object({
  nodes: z.array(memoryNode).optional(),
  hugepages_total: number,
  hugepages_used: number,
  hugepages_size: number,
  used: number,
  total: number,
});

const identity = {
  driver: string.optional(),
  driver_version: string.optional(),
  numa_node: number,
  pci_address: string.optional(),
  usb_address: string.optional(),
  vendor: string.optional(),
  vendor_id: string.optional(),
  product: string.optional(),
  product_id: string.optional(),
};

const gpuCard = z.object({
  ...identity,
  drm: z
    .object({
      id: number,
      card_name: string,
      card_device: string,
      control_name: string.optional(),
      control_device: string.optional(),
      render_name: string.optional(),
      render_device: string.optional(),
    })
    .optional(),
});

const networkCard = z.object({
  ...identity,
  ports: z
    .array(
      z.object({
        id: string,
        address: string.optional(),
        port: number,
        protocol: string,
        auto_negotiation: z.boolean(),
        link_detected: z.boolean(),
        link_speed: number.optional(),
        link_duplex: string.optional(),
      }),
    )
    .optional(),
});

const disk = z.object({
  id: string,
  device: string,
  model: string.optional(),
  type: string.optional(),
  read_only: z.boolean(),
  size: number,
  removable: z.boolean(),
  wwn: string.optional(),
  numa_node: number,
  device_path: string.optional(),
  block_size: number,
  firmware_version: string.optional(),
  rpm: number,
  serial: string.optional(),
  device_id: string,
  partitions: z.array(
    z.object({ id: string, device: string, read_only: z.boolean(), size: number, partition: number }),
  ),
  pci_address: string.optional(),
  usb_address: string.optional(),
});

const usbDevice = z.object({
  bus_address: number,
  device_address: number,
  interfaces: z.array(
    z.object({
      class: string,
      class_id: number,
      driver: string,
      driver_version: string,
      number,
      subclass: string,
      subclass_id: number,
    }),
  ),
  vendor: string,
  vendor_id: string,
  product: string,
  product_id: string,
  speed: number,
});

const pciDevice = z.object({
  driver: string,
  driver_version: string,
  numa_node: number,
  pci_address: string,
  vendor: string,
  vendor_id: string,
  product: string,
  product_id: string,
  iommu_group: number,
  vpd: z.object({ product_name: string.optional(), entries: z.record(z.string(), z.string()).optional() }),
});

const system = z.object({
  uuid: string,
  vendor: string,
  product: string,
  family: string,
  version: string,
  sku: string,
  serial: string,
  type: string,
  firmware: z.object({ vendor: string, date: string, version: string }).nullable(),
  chassis: z.object({ vendor: string, type: string, serial: string, version: string }).nullable(),
  motherboard: z.object({ vendor: string, product: string, serial: string, version: string }).nullable(),
});

export const resources = z.object({
  cpu,
  memory,
  gpu: z.object({ cards: z.array(gpuCard), total: number }),
  network: z.object({ cards: z.array(networkCard), total: number }),
  storage: z.object({ disks: z.array(disk), total: number }),
  usb: z.object({ devices: z.array(usbDevice), total: number }),
  pci: z.object({ devices: z.array(pciDevice), total: number }),
  system,
});

export type ResourcesWire = z.infer<typeof resources>;
