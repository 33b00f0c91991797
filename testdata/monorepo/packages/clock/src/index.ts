/** The time now, as ISO 8601. */
export const nowIso = (): string => new Date().toISOString();
