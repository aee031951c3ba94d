// Requests to the service: JSON in, JSON out. If the server requires a key, the browser prompts for it.
export class AnswerError extends Error {}

// GET without a body, POST with one; throws AnswerError with a message for the user.
export async function ask(path, body) {
  const response = await fetch(path, options(body)).catch(() => null);
  if (!response) throw new AnswerError("The server does not answer. Is it running?");
  const answer = await response.json().catch(() => ({}));
  if (!response.ok) throw new AnswerError(`The server answers ${response.status}: ${words(answer)}`);
  return answer;
}

function options(body) {
  // lists of this page are explored, not served, so they do not count as exposure
  const headers = { "X-Longtail-Purpose": "explore" };
  if (body === undefined) return { headers };
  return { method: "POST", headers: { ...headers, "Content-Type": "application/json" }, body: JSON.stringify(body) };
}

function words(answer) {
  const said = answer.error ?? answer.detail ?? answer.message ?? "no reason given";
  return typeof said === "string" ? said : JSON.stringify(said);
}
