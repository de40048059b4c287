// What every script in JavaScript does at its end: run its parts and print what each saw, as one JSON object.

export const MODEL = process.env.JANROOT_MODEL;
export const CALLS = process.env.JANROOT_CALLS;
export const EMBEDDER = process.env.JANROOT_EMBEDDER;

// Run the parts in order; one that fails tells its trace and hides no other.
export async function tell(parts) {
  const told = {};
  for (const [name, part] of Object.entries(parts)) {
    try {
      told[name] = { seen: await part() };
    } catch (error) {
      told[name] = { failed: String(error.stack ?? error) };
    }
  }
  console.log(JSON.stringify(told));
}
