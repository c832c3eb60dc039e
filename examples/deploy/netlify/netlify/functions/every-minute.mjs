// A scheduled function may take 30 seconds, so it only begins the one that may take longer.
export default () => fetch(`${process.env.URL}/.netlify/functions/push-background`, { method: "POST" });

export const config = { schedule: "* * * * *" };
