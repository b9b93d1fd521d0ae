/** Questions as a tree of dependencies against the candidates' answers. */
import { useMemo } from "preact/hooks";
import type { Candidate, Question } from "../api/types";
import { formatPercent, formatScore } from "../format";
import { questionRows, verdicts, type Focus, type Lit, type Verdict } from "../question-tree";
import { KindChip, Picture } from "./basics";
import { Icon, type IconName } from "./icon";

const MARKS: Record<Verdict, { icon: IconName; label: string }> = {
  yes: { icon: "check", label: "yes" },
  no: { icon: "cross", label: "no" },
  cannot_answer: { icon: "question", label: "cannot answer" },
  masked: { icon: "check", label: "yes, but a question it depends on does not hold: not counted" },
  missing: { icon: "minus", label: "not asked yet" },
};

export function AnswerMark({ verdict, probability, answerer }: { verdict: Verdict; probability?: number | null; answerer?: string | null }) {
  const { icon, label } = MARKS[verdict];
  const title = [label, probability == null ? null : `probability of yes ${formatPercent(probability)}`, answerer ? `by ${answerer}` : null]
    .filter(Boolean)
    .join(", ");
  return (
    <span class={`answer answer-${verdict}`} role="img" aria-label={label} title={title}>
      <Icon name={icon} size={14} />
    </span>
  );
}

export function QuestionMatrix({
  questions,
  candidates,
  best,
  worst,
  lit,
  onFocus,
  metric = "dpg",
}: {
  questions: Question[];
  candidates: Candidate[];
  best?: string | undefined;
  worst?: string | undefined;
  lit: Lit | null;
  onFocus: (focus: Focus | null) => void;
  metric?: string;
}) {
  const rows = useMemo(() => questionRows(questions), [questions]);
  const columns = useMemo(
    () =>
      candidates.map((candidate) => ({
        candidate,
        verdict: verdicts(questions, candidate.answers),
        answers: new Map(candidate.answers.map((answer) => [answer.question_id, answer])),
      })),
    [questions, candidates],
  );
  return (
    <div class="table-scroll">
      <table class="matrix">
        <thead>
          <tr>
            <th scope="col">Question</th>
            {candidates.map((candidate) => (
              <th key={candidate.id} scope="col">
                <div class="matrix-head">
                  <Picture
                    src={candidate.image_url}
                    alt={`Candidate ${candidate.index + 1}`}
                    tone={candidate.id === best ? "winner" : candidate.id === worst ? "loser" : undefined}
                  />
                  <span class="tabular">{formatScore(candidate.scores?.[metric])}</span>
                </div>
              </th>
            ))}
          </tr>
        </thead>
        <tbody>
          {rows.map(({ question, depth }) => {
            const state = lit ? (lit.questions.has(question.question_id) ? "lit" : "dim") : "";
            const disagree = new Set(columns.map(({ verdict }) => verdict.get(question.question_id) === "yes")).size > 1;
            return (
              <tr
                key={question.question_id}
                class={state}
                onPointerEnter={() => onFocus({ question: question.question_id })}
                onPointerLeave={() => onFocus(null)}
              >
                <th scope="row">
                  <button
                    type="button"
                    class="matrix-question"
                    style={{ "--depth": depth }}
                    onFocus={() => onFocus({ question: question.question_id })}
                    onBlur={() => onFocus(null)}
                  >
                    <span class={`kind-dot kind-${question.kind}`} />
                    <span class={disagree ? "" : "agreed"}>{question.text}</span>
                  </button>
                </th>
                {columns.map(({ candidate, verdict, answers }) => {
                  const answer = answers.get(question.question_id);
                  return (
                    <td key={candidate.id}>
                      <AnswerMark
                        verdict={verdict.get(question.question_id) ?? "missing"}
                        probability={answer?.probability ?? null}
                        answerer={answer ? `${answer.answerer} ${answer.answerer_version}` : null}
                      />
                      <span class="answer-probability">{answer ? formatScore(answer.probability) : " "}</span>
                    </td>
                  );
                })}
              </tr>
            );
          })}
        </tbody>
      </table>
      <div class="row row-wrap small faint matrix-legend">
        <KindChip kind="entity" /> <KindChip kind="attribute" /> <KindChip kind="relation" />
        <span class="grow" />
        <span class="row">
          <AnswerMark verdict="yes" /> yes
        </span>
        <span class="row">
          <AnswerMark verdict="no" /> no
        </span>
        <span class="row">
          <AnswerMark verdict="masked" /> not counted
        </span>
        <span class="row">
          <AnswerMark verdict="cannot_answer" /> refused
        </span>
      </div>
    </div>
  );
}
