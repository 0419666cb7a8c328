/** Loaded into a daemon under test beside its own code: arms fault points as its parent says. */
import { armFaultPoint } from '../../process/fault-points.ts';

process.on('message', (message: { readonly arm: string }) => {
  armFaultPoint(message.arm);
  process.send?.({ armed: message.arm });
});
// The channel alone must not keep a daemon running that was told to stop.
process.channel?.unref();
