import { busFunction } from "@busrig/event-contract";

export const hostFunctions = [
  busFunction("vault-sync", "vault.changed"),
  busFunction("local-health", "health.requested"),
  busFunction("generic-dispatch", "webhook.received"),
];
