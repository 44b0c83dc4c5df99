const DAY_S = 86_400
const TWO_DIGITS = Array.from({ length: 60 }, (_, value) => String(value).padStart(2, '0'))

/**
 * Times as HTTP writes them: `Tue, 14 Nov 2023 22:13:20 GMT`. Files that are read together were
 * mostly written in few days, and making the whole text costs as much as finding a needle.
 */
export class HttpDates {
  #day = -1
  #dayText = ''

  of(seconds: number): string {
    const day = Math.floor(seconds / DAY_S)
    if (day !== this.#day) {
      this.#dayText = httpDate(day * DAY_S).slice(0, -'00:00:00 GMT'.length)
      this.#day = day
    }
    const second = seconds - day * DAY_S
    const hours = TWO_DIGITS[Math.floor(second / 3600)]
    const minutes = TWO_DIGITS[Math.floor(second / 60) % 60]
    return `${this.#dayText}${hours}:${minutes}:${TWO_DIGITS[second % 60]} GMT`
  }
}

export function httpDate(seconds: number): string {
  return new Date(seconds * 1000).toUTCString()
}
