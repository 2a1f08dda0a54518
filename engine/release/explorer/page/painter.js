// Asking a worker; see worker.js for the jobs.

export class Painter {
  #worker = new Worker("/static/worker.js", { type: "module" });
  #waiting = new Map();
  #number = 0;

  constructor() {
    this.#worker.onmessage = ({ data: { number, answer, error } }) => {
      const { resolve, reject } = this.#waiting.get(number);
      this.#waiting.delete(number);
      if (error === undefined) resolve(answer);
      else reject(new Error(error));
    };
  }

  /** Its answer; rejects with an Error of one line. */
  ask(job, asked) {
    const number = this.#number++;
    return new Promise((resolve, reject) => {
      this.#waiting.set(number, { resolve, reject });
      this.#worker.postMessage({ number, job, ...asked });
    });
  }
}
