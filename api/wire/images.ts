/**
 * Request and answer shapes of `/1.0/images`. No behaviour.
 *
 * Go clients send null for empty maps and lists, so every field of a request
 * may be null or absent; unknown keys are dropped.
 */
import { z } from 'zod';

const text = z.string().nullish();
const flag = z.boolean().nullish();
const stringMap = z.record(z.string(), z.string().nullable()).nullish();
const nameList = z.array(z.string()).nullish();

/** Go's zero time means never. */
const time = z
  .string()
  .refine((value) => !Number.isNaN(Date.parse(value)), 'not a time such as 2026-01-02T03:04:05Z')
  .nullish();

const putFields = {
  auto_update: flag,
  properties: stringMap,
  public: flag,
  expires_at: time,
  profiles: nameList,
};

/** ImagePut: the body of PUT and PATCH. */
export const imagePut = z.object(putFields);
export type ImagePutWire = z.infer<typeof imagePut>;

const requestAlias = z.object({ name: z.string(), description: text });

/** ImagesPost: the body of POST when it is JSON. */
export const imagesPost = z.object({
  ...putFields,
  filename: text,
  compression_algorithm: text,
  aliases: z.array(requestAlias).nullish(),
  source: z
    .object({
      type: text,
      mode: text,
      url: text,
      name: text,
      alias: text,
      fingerprint: text,
      server: text,
      protocol: text,
      certificate: text,
      secret: text,
      image_type: text,
      project: text,
    })
    .nullish(),
});
export type ImagesPostWire = z.infer<typeof imagesPost>;

/** ImageExportPost. */
export const imageExportPost = z.object({
  target: text,
  secret: text,
  certificate: text,
  aliases: z.array(requestAlias).nullish(),
  project: text,
  profiles: nameList,
});

/** ImageAliasesPost. */
export const imageAliasesPost = z.object({ name: text, target: text, description: text, type: text });
/** ImageAliasesEntryPut: the body of PUT and PATCH. */
export const imageAliasPut = z.object({ target: text, description: text });
/** ImageAliasesEntryPost: a rename. */
export const imageAliasPost = z.object({ name: text });

/** Image, as the server sends it. */
export const image = z.object({
  auto_update: z.boolean(),
  properties: z.record(z.string(), z.string()),
  public: z.boolean(),
  expires_at: z.string(),
  profiles: z.array(z.string()),
  aliases: z.array(z.object({ name: z.string(), description: z.string() })),
  architecture: z.string(),
  cached: z.boolean(),
  filename: z.string(),
  fingerprint: z.string(),
  size: z.number().int(),
  type: z.literal('container'),
  created_at: z.string(),
  last_used_at: z.string(),
  uploaded_at: z.string(),
});

export const imageList = z.union([z.array(z.string()), z.array(image)]);

/** ImageAliasesEntry, as the server sends it. */
export const imageAlias = z.object({
  description: z.string(),
  target: z.string(),
  name: z.string(),
  type: z.literal('container'),
});

export const imageAliasList = z.union([z.array(z.string()), z.array(imageAlias)]);
