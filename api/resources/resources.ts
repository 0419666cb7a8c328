/** `GET /1.0/resources`: the hardware of the host, read anew for each request. */
import type { ResourcesWire } from '../wire/resources.ts';
import { readCpu } from './cpu.ts';
import { readGpu, readNetwork, readPci, readUsb } from './devices.ts';
import { PciNames } from './identify.ts';
import { readMemory } from './memory.ts';
import { Reader } from './reader.ts';
import { readStorage } from './storage.ts';
import { readSystem } from './system.ts';

/** Takes a few milliseconds; what the kernel does not tell is empty. */
export function readResources(reader: Reader = new Reader()): ResourcesWire {
  const names = new PciNames(reader);
  return {
    cpu: readCpu(reader),
    memory: readMemory(reader),
    gpu: readGpu(reader, names),
    network: readNetwork(reader, names),
    storage: readStorage(reader),
    usb: readUsb(reader),
    pci: readPci(reader, names),
    system: readSystem(reader),
  };
}
