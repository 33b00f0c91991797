import { busFunction } from "@busrig/event-contract";

export const clusterFunctions = [
  busFunction("approval-request", "approval.requested"),
  busFunction("task-created", "task.created"),
  busFunction("generic-dispatch", "webhook.received"),
];
