// What the server is asked.

/** The JSON of an answer; rejects with an Error of the one line that the server gives. */
export async function ask(path, { body, signal } = {}) {
  const sent = body === undefined ? {} : {
    method: "POST",
    headers: { "Content-Type": "application/json" },
    body: JSON.stringify(body),
  };
  let response;
  try {
    response = await fetch(path, { ...sent, signal });
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new Error("The explorer does not answer; is sam-engine release explore still running?");
  }
  const answer = await response.json();
  if (!response.ok) throw new Error(answer.error);
  return answer;
}

export const pictureUrl = (release, id, query) => `/api/${release}/pictures/${id}${query ? `?${query}` : ""}`;
export const jpegUrl = (release, id) => `/api/${release}/pictures/${id}/picture.jpg`;
export const thumbnailUrl = (release, id) => `/api/${release}/pictures/${id}/thumbnail.jpg`;
