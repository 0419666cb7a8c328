/** Types of messages of the `/1.0/events` websocket; each message is one JSON object. */
export const EVENT_TYPES = ['operation', 'logging', 'lifecycle'] as const;
