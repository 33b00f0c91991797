import { busFunction } from "@busrig/event-contract";

const duplicate = process.env.FIXTURE_DUPLICATE_ID;

export const hostFunctions = [
  busFunction("vault-sync", "vault.changed"),
  busFunction("local-health", "health.requested"),
  ...(duplicate ? [busFunction(duplicate, "duplicate.sent")] : []),
];
