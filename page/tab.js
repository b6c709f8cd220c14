/** What is kept for this tab alone, until it is closed. */

/** For a browser that is told to keep nothing for pages, and then raises an error: kept until the page is left. */
function memory() {
  const kept = new Map();
  return {
    getItem: (name) => kept.get(name) ?? null,
    setItem: (name, value) => kept.set(name, value),
    removeItem: (name) => kept.delete(name),
  };
}

function storage() {
  try {
    return sessionStorage ?? memory();
  } catch {
    return memory();
  }
}

export const tab = storage();
