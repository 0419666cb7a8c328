/** Shapes of `POST /1.0/instances/{name}/exec` and of the frames on its control socket. */
import { z } from 'zod';

/** Linux ends a text at NUL: a program would see another argument than the caller wrote. */
const argument = z.string().refine((text) => !text.includes('\0'), 'must not hold NUL bytes');
/** 4294967295 is (uid_t)-1, which means "do not change". */
const numericId = z.number().int().min(0).max(4_294_967_294);

export const instanceExecPost = z.object({
  command: z.array(argument).min(1),
  /** A null value is Go's zero value. */
  environment: z
    .record(
      argument,
      argument.nullable().transform((value) => value ?? ''),
    )
    .nullish(),
  'wait-for-websocket': z.boolean().nullish(),
  interactive: z.boolean().nullish(),
  width: z.number().int().nullish(),
  height: z.number().int().nullish(),
  'record-output': z.boolean().nullish(),
  user: numericId.nullish(),
  group: numericId.nullish(),
  cwd: argument.nullish(),
});

export type InstanceExecPost = z.infer<typeof instanceExecPost>;

/** The Go client writes the numbers of a resize as text, others as numbers. */
const number = z.union([
  z.number().int(),
  z
    .string()
    .regex(/^\d{1,9}$/)
    .transform(Number),
]);

export const windowResize = z.object({
  command: z.literal('window-resize'),
  args: z.object({ width: number, height: number }),
});

export const execControl = z.union([
  windowResize,
  z.object({ command: z.literal('signal'), signal: number }),
]);
