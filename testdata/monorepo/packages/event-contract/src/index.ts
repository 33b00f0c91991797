import { nowIso } from "@busrig/clock";

/** A function of the bus: its id and the events that start it. */
export type BusFunction = { opts: { id: string; triggers: { event: string }[] } };

export const busFunction = (id: string, event: string): BusFunction => ({
  opts: { id, triggers: [{ event }] },
});

export const ids = (functions: BusFunction[]): string[] => functions.map((f) => f.opts.id);

export const stamp = nowIso;
