/** Request and answer shapes of `/1.0/storage-pools`. No behaviour. */
import { z } from 'zod';

const text = z.string().nullish();
/** A null value is Go's zero value: the empty string, which unsets the key. */
const stringMap = z.record(z.string(), z.string().nullable()).nullish();

/** StoragePoolsPost. */
export const storagePoolsPost = z.object({ name: text, driver: text, description: text, config: stringMap });
/** StoragePoolPut: the body of PUT and PATCH. */
export const storagePoolPut = z.object({ description: text, config: stringMap });

/** StorageVolumesPost. */
export const storageVolumesPost = z.object({
  name: text,
  type: text,
  content_type: text,
  description: text,
  config: stringMap,
});
/** StorageVolumePut: the body of PUT and PATCH. */
export const storageVolumePut = z.object({ description: text, config: stringMap, restore: text });
/** StorageVolumePost: rename or move. */
export const storageVolumePost = z.object({
  name: text,
  pool: text,
  project: text,
  migration: z.boolean().nullish(),
});

/** StoragePool, as the server sends it. */
export const storagePool = z.object({
  config: z.record(z.string(), z.string()),
  description: z.string(),
  name: z.string(),
  driver: z.string(),
  used_by: z.array(z.string()),
  status: z.string(),
  locations: z.array(z.string()),
});

export const storagePoolList = z.union([z.array(z.string()), z.array(storagePool)]);

/** ResourcesStoragePool. */
export const storagePoolResources = z.object({
  space: z.object({ used: z.number().optional(), total: z.number() }),
  inodes: z.object({ used: z.number(), total: z.number() }),
});

/** StorageVolume, as the server sends it. */
export const storageVolume = z.object({
  config: z.record(z.string(), z.string()),
  description: z.string(),
  name: z.string(),
  type: z.string(),
  used_by: z.array(z.string()),
  location: z.string(),
  content_type: z.string(),
  project: z.string(),
  created_at: z.string(),
});

export const storageVolumeList = z.union([z.array(z.string()), z.array(storageVolume)]);

/** StorageVolumeState; a total of -1 is not known. */
export const storageVolumeState = z.object({
  usage: z.object({ used: z.number().optional(), total: z.number() }).nullable(),
});
