/** `/1.0/metrics`. */
import { Fault } from '../../process/fault.ts';
import type { Call, Route } from '../http/route.ts';
import type { Metrics } from '../metrics/metrics.ts';
import type { ServerConfig } from '../server-config.ts';

export interface MetricsRouteParts {
  readonly metrics: Metrics;
  readonly serverConfig: ServerConfig;
}

/** Projects to tell of: the one asked for, else all the caller may see. */
function projectsOf(call: Call, serverConfig: ServerConfig): readonly string[] | null {
  const wanted = call.query.get('project');
  // Without authentication, who is not known sees what everyone sees: all.
  const isOpen = !call.caller.trusted && serverConfig.get('core.metrics_authentication') === 'false';
  const projects = isOpen ? null : call.caller.projects;
  if (wanted === null || wanted === '') return projects;
  if (projects !== null && !projects.includes(wanted)) throw new Fault('forbidden', 'not authorized');
  return [wanted];
}

export function metricsRoutes(parts: MetricsRouteParts): Route[] {
  return [
    {
      method: 'GET',
      path: '/1.0/metrics',
      access: 'metrics',
      summary: 'Tells use of CPU, memory, disks and networks by each running instance, in OpenMetrics text',
      handle: async (call) => {
        const projects = projectsOf(call, parts.serverConfig);
        const text = await parts.metrics.text({ projects, withServer: projects === null });
        return { kind: 'text', text, contentType: 'text/plain' };
      },
    },
  ];
}
