/** `/1.0/resources`. */
import type { Route } from '../http/route.ts';
import { answers } from '../http/route.ts';
import { readResources } from '../resources/resources.ts';
import { resources } from '../wire/resources.ts';

export function resourcesRoutes(): Route[] {
  return [
    {
      method: 'GET',
      path: '/1.0/resources',
      access: 'trusted',
      summary: 'Shows processors, memory, disks and devices of the host',
      answer: resources,
      handle: () => Promise.resolve(answers.sync(readResources())),
    },
  ];
}
