/**
 * Rules of this project alone, each with a number and a reason.
 *
 *   P001  programs are started in native/ and api/tools.ts only: there they get
 *         a clean environment, a deadline, and an error text a user can act on
 *   P002  process.env is read in config/ only, so that what a process depends
 *         on can be read in one place
 *   P003  a file that calls itself pure has no clock, no chance, no disk and no network
 *   P004  log messages are constant, so that they can be counted; facts go into fields
 *   P005  winston has traps; process/log.ts keeps them
 *   P006  `as` turns a check of the compiler off; a comment says why that is right
 */
import { P001, P002, P005 } from './places.js';
import { P003 } from './pure-files.js';
import { P004 } from './log-messages.js';
import { P006 } from './assertions.js';

export const slipway = { rules: { P001, P002, P003, P004, P005, P006 } };
