import { nowIso } from "@busrig/clock";
import ms from "ms";

/** A function of the bus: its id and the events that start it. */
export type BusFunction = { opts: { id: string; triggers: { event: string }[]; timeout: number } };

export const busFunction = (id: string, event: string): BusFunction => ({
  opts: { id, triggers: [{ event }], timeout: ms("30s") },
});

export const ids = (functions: BusFunction[]): string[] => functions.map((f) => f.opts.id);

export const stamp = nowIso;
