// Questions to the service: JSON in, JSON out. Where the server asks for a key, the browser does so by itself.
export class AnswerError extends Error {}

// GET without a body, POST with one; raises AnswerError with words that a person can use.
export async function ask(path, body) {
  const response = await fetch(path, options(body)).catch(() => null);
  if (!response) throw new AnswerError("The server does not answer. Is it running?");
  const answer = await response.json().catch(() => ({}));
  if (!response.ok) throw new AnswerError(`The server answers ${response.status}: ${words(answer)}`);
  return answer;
}

function options(body) {
  // lists of this page are looked at by people who try things out: they are no exposure of the catalogue
  const headers = { "X-Longtail-Purpose": "explore" };
  if (body === undefined) return { headers };
  return { method: "POST", headers: { ...headers, "Content-Type": "application/json" }, body: JSON.stringify(body) };
}

function words(answer) {
  const said = answer.error ?? answer.detail ?? answer.message ?? "no reason given";
  return typeof said === "string" ? said : JSON.stringify(said);
}
