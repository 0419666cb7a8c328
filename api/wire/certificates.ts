/** Shapes of `/1.0/certificates`. Go clients send null for what they leave empty. */
import { z } from 'zod';

const text = z.string().max(64 * 1024);
const projects = z.array(z.string().max(256)).max(10_000);

export const certificatesPost = z.object({
  name: text.nullish(),
  type: text.nullish(),
  restricted: z.boolean().nullish(),
  projects: projects.nullish(),
  /** Base64 of the DER; line breaks and PEM armour are taken too. */
  certificate: text.nullish(),
  password: text.nullish(),
  token: z.boolean().nullish(),
});
export type CertificatesPost = z.output<typeof certificatesPost>;

export const certificatePut = z.object({
  name: text.nullish(),
  type: text.nullish(),
  restricted: z.boolean().nullish(),
  projects: projects.nullish(),
  certificate: text.nullish(),
});
export type CertificatePut = z.output<typeof certificatePut>;

export const certificate = z.object({
  name: z.string(),
  type: z.enum(['client', 'metrics']),
  restricted: z.boolean(),
  projects: z.array(z.string()),
  /** PEM. */
  certificate: z.string(),
  fingerprint: z.string(),
});
export type CertificateWire = z.output<typeof certificate>;

export const certificateList = z.array(z.union([z.string(), certificate]));
