/** Shapes of `/`, `/1.0` and `/1.0/cluster`. */
import { z } from 'zod';

export const apiVersions = z.array(z.string());

/** Values may be booleans and numbers, here alone; the store of the keys checks each. */
export const serverPut = z.object({
  config: z.record(z.string(), z.unknown()).nullish(),
});

export const storageDriverInfo = z.object({ Name: z.string(), Version: z.string(), Remote: z.boolean() });

export const serverEnvironment = z.object({
  addresses: z.array(z.string()),
  architectures: z.array(z.string()),
  certificate: z.string(),
  certificate_fingerprint: z.string(),
  driver: z.string(),
  driver_version: z.string(),
  firewall: z.string(),
  kernel: z.string(),
  kernel_architecture: z.string(),
  kernel_features: z.record(z.string(), z.string()),
  kernel_version: z.string(),
  lxc_features: z.record(z.string(), z.string()),
  os_name: z.string(),
  os_version: z.string(),
  project: z.string(),
  server: z.string(),
  server_clustered: z.boolean(),
  server_event_mode: z.string(),
  server_name: z.string(),
  server_pid: z.number().int(),
  server_version: z.string(),
  storage: z.string(),
  storage_version: z.string(),
  storage_supported_drivers: z.array(storageDriverInfo),
});
export type ServerEnvironment = z.output<typeof serverEnvironment>;

export const serverUntrusted = z.object({
  api_extensions: z.array(z.string()),
  api_status: z.string(),
  api_version: z.string(),
  auth: z.enum(['trusted', 'untrusted']),
  public: z.boolean(),
  auth_methods: z.array(z.string()),
});

export const server = serverUntrusted.extend({
  config: z.record(z.string(), z.union([z.string(), z.boolean()])).nullable(),
  environment: serverEnvironment,
});

export const cluster = z.object({
  server_name: z.string(),
  enabled: z.boolean(),
  member_config: z.array(
    z.object({
      entity: z.string(),
      name: z.string(),
      key: z.string(),
      value: z.string(),
      description: z.string(),
    }),
  ),
});
