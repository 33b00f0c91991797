import { nowIso } from "@busrig/clock";

export const page = (): string => `<p>rendered ${nowIso()}</p>`;
