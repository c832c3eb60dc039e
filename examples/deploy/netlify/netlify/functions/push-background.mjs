// Calls for slices until there is none to run. A background function may take 15 minutes; each call takes its own budget.
const LASTS = 14 * 60_000;

export default async () => {
  const { OUTLAST_URL, CRON_SECRET } = process.env;
  const began = Date.now();
  for (let ran = 1; ran > 0 && Date.now() - began < LASTS; ) {
    const answer = await fetch(`${OUTLAST_URL}/push/sweep`, {
      method: "POST",
      headers: { Authorization: `Bearer ${CRON_SECRET}` },
    });
    if (!answer.ok) throw new Error(`the service answered ${answer.status}`);
    ran = (await answer.json()).ran;
  }
};
