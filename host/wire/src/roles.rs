//! Roles as people and programs write them: words with commas between them. Also takes the words of older tools.

use host_core::device::Roles;

use crate::error::{Error, Fault};

/// Reads `head,body,tail` or some of them; `header` and `worker` are other names of the first two.
pub fn read(text: &str) -> Result<Roles, Error> {
    let mut roles = Roles { head: false, body: false, tail: false };
    for word in text.split(',').map(str::trim) {
        match word {
            "head" | "header" => roles.head = true,
            "body" | "worker" => roles.body = true,
            "tail" => roles.tail = true,
            _ => return Err(Fault::UnknownWord { what: "role", word: word.chars().take(64).collect(), known: "head, body, tail" }.into()),
        }
    }
    Ok(roles)
}

/// The words of the roles, in the order of a chain.
pub fn words(roles: Roles) -> Vec<String> {
    let words = [(roles.head, "head"), (roles.body, "body"), (roles.tail, "tail")];
    words.into_iter().filter(|(taken, _)| *taken).map(|(_, word)| word.to_owned()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn roles_are_read_in_any_order_and_written_in_one() {
        let cases = [("head,body,tail", "head,body,tail"), ("tail, head", "head,tail"), ("header,worker", "head,body"), ("tail,tail", "tail")];
        for (text, written) in cases {
            assert_eq!(words(read(text).expect(text)).join(","), written);
        }
        assert_eq!(read("head,body,tail"), Ok(Roles::ALL));
    }

    #[test]
    fn a_word_that_is_no_role_is_named() {
        for (text, word) in [("", ""), ("head,", ""), ("head,feet", "feet"), ("Head", "Head")] {
            assert_eq!(read(text).expect_err(text).to_string(), format!("role `{word}` is not known, it must be one of head, body, tail"));
        }
    }
}
