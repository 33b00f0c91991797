/** The fault of this commit; FIXTURE_FAULT overrides it. Empty: none. */
export const fault = "";
